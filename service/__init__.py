"""The service: specs, search, engines, store, tracking, export, and the command line over them."""
