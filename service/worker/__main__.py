"""`python -m service.worker`: one worker, told everything by its environment."""

from __future__ import annotations

import sys

from service.errors import TuneladderError
from service.logs import set_up_logs
from service.settings import load_settings
from service.worker import Worker, WorkerOptions


def main() -> int:
    """Work until a signal asks for the end; say the exit code."""
    set_up_logs()
    try:
        Worker(WorkerOptions.of(load_settings())).run()
    except TuneladderError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
