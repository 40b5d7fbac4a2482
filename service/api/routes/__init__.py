"""The routes, one module for each tag of the OpenAPI document."""

from service.api.routes import access, bundles, catalog, events, health, jobs, results

ROUTERS = (
    jobs.router,
    events.router,
    results.router,
    bundles.router,
    catalog.router,
    access.router,
    health.router,
)

__all__ = ["ROUTERS"]
