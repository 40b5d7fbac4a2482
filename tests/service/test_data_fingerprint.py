from __future__ import annotations

import re

from search_spaces import SearchSpace
from service.catalog import ResolvedJob
from service.documents import parse_spec


def fingerprint(data: dict) -> str:
    spec = parse_spec(
        {
            "name": "own",
            "family": {"module": "my_package.networks:Net"},
            "data": data,
            "objective": {"metric": "val_loss", "mode": "min"},
            "search": {"space": {"lr": {"low": 1e-4, "high": 1e-1, "default": 1e-2}}},
        }
    )
    space = SearchSpace(name="own", parameters=())
    return ResolvedJob(
        spec=spec, space=space, metric="val_loss", mode="min", source=None, data=None
    ).data_fingerprint


def test_a_data_module_is_named_by_a_hash_however_long_its_arguments() -> None:
    """The store's column holds 64 characters, and PostgreSQL means it."""
    data = {"module": "my_package.data:Rows", "params": {"folder": "x" * 500, "batch_size": 8}}
    first = fingerprint(data)
    assert re.fullmatch("[0-9a-f]{64}", first)
    assert first == fingerprint(data | {"params": {"batch_size": 8, "folder": "x" * 500}})  # in any order
    others = [
        data | {"module": "my_package.data:Others"},
        data | {"params": {"folder": "y" * 500, "batch_size": 8}},
        {"module": "my_package.data:Rows"},
    ]
    assert len({first, *(fingerprint(other) for other in others)}) == 4
