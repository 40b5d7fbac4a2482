"""What there is to tune, and what a job would do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from search_spaces import SPACES
from service.api.auth import Submitter, Viewer
from service.api.bodies import JSON, YAML_TYPES, check_media_type
from service.api.facts import DATASETS, FAMILIES
from service.api.openapi import problems, spec_body
from service.api.problems import ProblemError
from service.api.routes.common import PREFIX, AsJson
from service.api.schemas import Dataset, Family, Plan, Space
from service.api.specs import read_spec
from service.api.state import StateOf
from service.api.views import Json, space_view

router = APIRouter(prefix=PREFIX, tags=["catalog"], dependencies=[AsJson])


@router.post(
    "/plans",
    operation_id="make_plan",
    summary="Show what a job would do",
    response_model=Plan,
    responses=problems("bad_request", "invalid_spec", "forbidden_field", "too_large", "unsupported_media_type"),
    openapi_extra=spec_body(),
)
async def make_plan(request: Request, state: StateOf, caller: Submitter) -> Response:
    """Make the plan of a spec and estimate its time. The data is read, which takes a while; nothing is kept."""
    media_type = check_media_type(request, JSON, *YAML_TYPES)
    body = await request.body()
    spec = await state.threads.run(read_spec, body, media_type, state.settings)

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    return Json(await state.dry_runs.plan(spec, gone))


@router.get(
    "/spaces",
    operation_id="list_spaces",
    summary="Show all search spaces",
    response_model=dict[str, Space],
    responses=problems(),
)
async def list_spaces(caller: Viewer) -> Response:
    """Show the search spaces of all families by name: ranges, defaults, the order of tuning and the reasons."""
    return Json({name: space_view(space) for name, space in SPACES.items()})


@router.get(
    "/spaces/{name}",
    operation_id="get_space",
    summary="Show a search space",
    response_model=Space,
    responses=problems("not_found"),
)
async def get_space(
    caller: Viewer, name: Annotated[str, Path(pattern=r"^[a-z_0-9]{1,100}$", description="of a family")]
) -> Response:
    """Show the search space of a family."""
    if name not in SPACES:
        raise ProblemError("not_found", f"families are {', '.join(SPACES)}, got {name!r}: choose one")
    return Json(space_view(SPACES[name]))


@router.get(
    "/families",
    operation_id="list_families",
    summary="List the families",
    response_model=list[Family],
    responses=problems(),
)
async def list_families(caller: Viewer) -> Response:
    """List the built-in families of networks."""
    return Json([{"name": name, **facts} for name, facts in FAMILIES.items()])


@router.get(
    "/datasets",
    operation_id="list_datasets",
    summary="List the named data sets",
    response_model=list[Dataset],
    responses=problems(),
)
async def list_datasets(caller: Viewer) -> Response:
    """List the data sets that a spec can name without a file."""
    return Json([{"name": name, **facts} for name, facts in DATASETS.items()])
