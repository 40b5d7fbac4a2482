"""Claims jobs and has each run in a process of its own."""
