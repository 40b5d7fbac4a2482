"""Bundles: written at the end of a job, loaded anywhere: `from service.export import load_bundle`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.export.bundle import Bundle, load_bundle

__all__ = ["Bundle", "load_bundle"]


def __getattr__(name: str) -> Any:
    """Import torch when a bundle is loaded, and not when a command merely lists jobs."""
    if name in __all__:
        from service.export import bundle

        return getattr(bundle, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
