"""The service under load, with a large store behind it."""
