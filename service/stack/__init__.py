"""The whole service on one machine: started, watched and ended together."""
