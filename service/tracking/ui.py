"""How to look at a home's tracking database: MLflow's own server on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from service.tracking.server import local_artifacts, local_tracking_uri

# For the environment of the command.
UI_ENVIRONMENT: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # evaluation jobs of MLflow's own: four processes more
}


def ui_command(home: Path, host: str = "127.0.0.1", port: int = 5000) -> list[str]:
    """Write the command that serves a home's runs and artifacts, for a process of its own.

    The server starts processes: end its whole process group.

    Args:
        home: The folder of the store.
        host: Where it listens. MLflow answers requests that name localhost or a private address only; for other
            names set MLFLOW_SERVER_ALLOWED_HOSTS.
        port: Where it listens.
    """
    options = {
        "--backend-store-uri": local_tracking_uri(home),
        "--default-artifact-root": local_artifacts(home),
        "--host": host,
        "--port": str(port),
        "--workers": "1",  # SQLite has one writer anyway; each worker is 300 MB
    }
    return [sys.executable, "-m", "mlflow", "server", *(part for pair in options.items() for part in pair)]
