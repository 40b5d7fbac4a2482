"""Building blocks of networks, each kind in a registry of its own."""
