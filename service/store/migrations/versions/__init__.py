"""One file a revision; its name starts with the revision's number."""
