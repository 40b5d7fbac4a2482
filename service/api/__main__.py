"""`python -m service.api`: the server, with the settings of the environment."""

from __future__ import annotations

import sys

from service.api.server import serve
from service.errors import TuneladderError
from service.settings import load_settings


def main() -> None:
    """Serve until SIGTERM or Ctrl-C; a setting that is wrong ends with a message and its exit code."""
    try:
        serve(load_settings())
    except KeyboardInterrupt:
        pass
    except TuneladderError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
