"""The server: serves the application with uvicorn, writes one line of log for each request, and ends in order."""

from __future__ import annotations

import gc
import logging
import socket
import sys

import structlog
import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.logs import set_up_logs
from service.settings import Settings
from service.store import Store


class ApiServer(uvicorn.Server):
    """Ends the event streams when it is told to end: they would keep it for as long as their jobs run."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let open requests come to their end, for as long as the settings give them."""
        self._app.state.parts.watchers.close()
        await super().shutdown(sockets)


def serve(settings: Settings) -> None:
    """Serve the API until SIGTERM or Ctrl-C.

    Args:
        settings: Of the server.

    Raises:
        InvalidSpecError: The store's URL is none.
        StoreUnavailableError: The store does not answer.
    """
    _set_up_logs()
    with Store.open(settings.store_url()) as store:
        app = create_app(settings, store)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(settings.shutdown_s),
            timeout_keep_alive=30,
        )
        _spare_the_collector()
        ApiServer(config, app).run()


def _spare_the_collector() -> None:
    """Keep the garbage collector from what was imported: a pass over it stops all requests for 0.1 s."""
    gc.collect()
    gc.freeze()


def _set_up_logs() -> None:
    """Let libraries log in the form of our own lines."""
    set_up_logs()
    *before, renderer = structlog.get_config()["processors"]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
