"""The API's own description: what each route answers, problems included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.api import bodies
from service.api.auth import AtLeast
from service.api.problems import KINDS, MEDIA_TYPE, Problem
from service.api.schemas import ExportRequest, PriorityRequest, TokenRequest
from service.spec import Spec

TITLE = "tuneladder"
DESCRIPTION = """\
Hyperparameter tuning as a service. Hand in a spec as a job, follow its events, fetch the bundle of its winner.

Every request but `/healthz`, `/readyz` and `/openapi.json` needs a token: `Authorization: Bearer tl_...`. Errors
are `application/problem+json`; their `code` is for programs. Answers carry `X-Request-Id`, which the server's log
knows.
"""
TAGS = [
    {"name": "jobs", "description": "Submit jobs, look at them, steer them."},
    {"name": "results", "description": "What a job has found: stages, trials, the winner."},
    {"name": "bundles", "description": "What a job hands over."},
    {"name": "catalog", "description": "What there is to tune, and what a job would do."},
    {"name": "access", "description": "Tokens and the audit."},
    {"name": "health", "description": "For probes and Prometheus."},
]
_REQUESTS: tuple[type[BaseModel], ...] = (Problem, Spec, PriorityRequest, ExportRequest, TokenRequest)
_EVERYWHERE = ("internal", "unavailable")
_WITH_TOKEN = ("unauthorized", "forbidden", "not_acceptable", "invalid_request", "rate_limited")

Responses = dict[int | str, dict[str, Any]]


def problems(*codes: str, anonymous: bool = False) -> Responses:
    """Describe the problems that a route may answer with, those that every route has included."""
    all_codes = [*_EVERYWHERE, *(() if anonymous else _WITH_TOKEN), *codes]
    found: Responses = {}
    for status in sorted({KINDS[code].status for code in all_codes}):
        own = sorted({code for code in all_codes if KINDS[code].status == status})
        found[status] = {
            "description": "; ".join(f"`{code}`: {KINDS[code].title.lower()}" for code in own),
            "content": {MEDIA_TYPE: {"schema": _ref(Problem)}},
        }
        if "rate_limited" in own or "unavailable" in own:
            found[status]["headers"] = {
                "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer"}}
            }
    return found


def json_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Describe a body that is read by `bodies.read_model`."""
    return {"requestBody": {"required": required, "content": {bodies.JSON: {"schema": _ref(model)}}}}


def spec_body() -> dict[str, Any]:
    """Describe a spec as a body."""
    kinds = (bodies.JSON, bodies.YAML_TYPES[0])
    example = {"name": "digits", "family": "mlp", "data": {"name": "digits"}, "budget": {"epochs": 120}}
    return {
        "requestBody": {
            "required": True,
            "description": "A spec; its paths lie below the server's data roots.",
            "content": {kind: {"schema": _ref(Spec), "example": example} for kind in kinds},
        }
    }


def stream(description: str, media_type: str) -> dict[str, Any]:
    """Describe an answer that is no JSON."""
    is_text = media_type.startswith("text/")
    schema = {"type": "string"} if is_text else {"type": "string", "format": "binary"}
    return {"description": description, "content": {media_type: {"schema": schema}}}


def describe(app: FastAPI, routers: Iterable[APIRouter]) -> dict[str, Any]:
    """Write the OpenAPI document of the application; `x-role` says who may use an operation, null: anybody."""
    document = get_openapi(
        title=TITLE,
        version=version("tuneladder"),
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in _REQUESTS:
        for name, part in _definitions(model).items():
            if schemas.setdefault(name, part) != part:
                raise RuntimeError(f"a name in the document stands for one thing, {name} for two: rename one")
    roles = _roles(routers)
    for _, _, operation in operations(document):
        operation["x-role"] = roles.get(operation["operationId"])
    return document


def _roles(routers: Iterable[APIRouter]) -> dict[str, str]:
    """Say which role each operation asks for, as its own dependencies do."""
    found: dict[str, str] = {}
    for route in (route for router in routers for route in router.routes if isinstance(route, APIRoute)):
        for part in route.dependant.dependencies:
            if isinstance(part.call, AtLeast) and route.operation_id:
                found[route.operation_id] = str(part.call.role)
    return found


def _definitions(model: type[BaseModel]) -> Mapping[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}", mode="validation")
    parts: dict[str, Any] = schema.pop("$defs", {})
    return {**parts, model.__name__: schema}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """List the operations of a document as (path, method, operation)."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method.upper(), operation
