"""Settings of a server, from the environment: every one begins with TUNELADDER_.

Only composition roots read them: the command line, the stack, the entries of API and worker. Everything below is
handed what it needs.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from service.errors import InvalidSettingsError
from service.home import Home

PREFIX = "TUNELADDER_"


def _worker_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


class Settings(BaseSettings):
    """What a server, a worker or the stack is told by its environment. URLs may hold passwords: not in reprs."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(Path(".tuneladder"), description="folder of record, checkpoints, MLflow and bundles")
    database_url: str | None = Field(
        None, repr=False, description="the store: sqlite:///FILE or postgresql://...; default: SQLite in home"
    )
    mlflow_uri: str | None = Field(
        None, repr=False, description="where jobs show in MLflow: a server or a database; default: SQLite in home"
    )
    ray_address: str | None = Field(None, description="a Ray cluster to join; default: a local Ray for each job")
    data_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="folders below which data files of specs may lie, separated as in PATH"
    )
    allowed_modules: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="packages that specs may import modules of, separated by commas"
    )
    host: str = Field("127.0.0.1", description="address that the API listens on")
    port: int = Field(8400, ge=0, le=65535, description="port of the API; 0: any free one")
    max_body_bytes: int = Field(1024 * 1024, ge=1024, description="bytes of a request's body at most")
    rate_per_minute: int = Field(600, ge=1, description="requests of one token in a minute at most")
    rate_burst: int = Field(100, ge=1, description="requests of one token in a second at most")
    max_watchers: int = Field(200, ge=1, description="event streams that are open at once at most")
    watch_poll_s: float = Field(0.5, gt=0, description="seconds between two looks at the events of watched jobs")
    heartbeat_s: float = Field(15.0, gt=0, description="seconds of silence before a stream sends a comment")
    plan_timeout_s: float = Field(60.0, gt=0, description="seconds that a dry run may take, waiting included")
    max_plans: int = Field(1, ge=1, description="dry runs at once at most; each is a process with torch")
    shutdown_s: float = Field(10.0, gt=0, description="seconds that open requests have when the API ends")
    lease_s: float = Field(30.0, ge=1, description="seconds for which a worker claims a job before it renews")
    poll_s: float = Field(1.0, gt=0, description="seconds between two looks of a worker at the queue")
    max_running_jobs: int = Field(1, ge=1, description="jobs that one worker runs at once")
    max_running_per_owner: int | None = Field(None, ge=1, description="of one owner; default: no limit")
    worker_name: str = Field(default_factory=_worker_name, description="of a worker; default: host and process")
    engine: Literal["ray", "local"] = Field("ray", description="what trains: slots on Ray, or the job itself")
    grace_s: float = Field(30.0, ge=0, description="seconds that jobs have for their legs when a worker ends")
    slots: int | None = Field(None, ge=1, description="slots of a job; default: as many as the machine holds")

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_paths(cls, value: object) -> object:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @field_validator("data_roots", "home")
    @classmethod
    def _absolute(cls, value: Any) -> Any:
        if isinstance(value, Path):
            return value.expanduser().absolute()
        return tuple(path.expanduser().absolute() for path in value)

    @field_validator("allowed_modules", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        for name in value if isinstance(value, list | tuple) else ():
            if not all(part.isidentifier() for part in str(name).split(".")):
                raise ValueError(f"an allowed module is a package or module such as my_package, got {name!r}")
        return value

    @property
    def places(self) -> Home:
        """The home folder, with all that lies in it."""
        return Home(self.home)

    def store_url(self) -> str:
        """Name the store's database."""
        return self.database_url or self.places.store_url()

    def environment(self) -> dict[str, str]:
        """Write the settings as environment variables, for a child process; `load_settings` reads them there."""
        separators = {"data_roots": os.pathsep, "allowed_modules": ","}
        return {
            f"{PREFIX}{name.upper()}": separators[name].join(map(str, value)) if name in separators else str(value)
            for name, value in dict(self).items()
            if value is not None
        }


def load_settings(**given: Any) -> Settings:
    """Read the settings from the environment.

    Args:
        given: Settings that stand over the environment's, such as those of the command line; None is left out.

    Raises:
        InvalidSettingsError: One breaks its rule; names the variable.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        name = str(first["loc"][0])
        rule = str(first["msg"]).removeprefix("Value error, ")
        # The value may be a secret, so it is not repeated.
        raise InvalidSettingsError(
            f"{PREFIX}{name.upper()}: {rule[0].lower()}{rule[1:]}: {Settings.model_fields[name].description}"
        ) from None
