"""Workers: each claims jobs and has every one run in a process of its own."""

from service.worker.options import WorkerOptions
from service.worker.worker import Worker

__all__ = ["Worker", "WorkerOptions"]
