"""The HTTP API: takes jobs, shows them, follows them. It trains nothing and imports nothing that does."""

from service.api.app import create_app
from service.api.server import serve

__all__ = ["create_app", "serve"]
