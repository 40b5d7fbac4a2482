"""How fast the service answers when its store is full."""
