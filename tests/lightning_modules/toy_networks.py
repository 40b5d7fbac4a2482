"""Tiny data descriptions and batches, one for each kind of data, for tests of networks."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_modules.data.base import DataInfo

TABLE = DataInfo(
    kind="tabular",
    task="classification",
    num_outputs=3,
    num_train=20,
    num_validation=10,
    num_features=4,
    cardinalities=(3, 5),
    class_counts=(10, 6, 4),
)
TEXT = DataInfo(
    kind="text",
    task="classification",
    num_outputs=3,
    num_train=20,
    num_validation=10,
    vocabulary_size=11,
    max_length=7,
)
SERIES = DataInfo(
    kind="series",
    task="classification",
    num_outputs=3,
    num_train=20,
    num_validation=10,
    num_features=2,
    max_length=9,
)


def images(channels: int, height: int, width: int, *, num_outputs: int = 3) -> DataInfo:
    return DataInfo(
        kind="image",
        task="classification",
        num_outputs=num_outputs,
        num_train=20,
        num_validation=10,
        image_shape=(channels, height, width),
    )


def batch(info: DataInfo, rows: int = 4) -> tuple[dict[str, Tensor], Tensor]:
    """Draw inputs as `DataInfo` describes them, padded rows included, and class indices."""
    target = torch.randint(0, info.num_outputs, (rows,))
    if info.kind == "image":
        assert info.image_shape is not None
        return {"image": torch.randn(rows, *info.image_shape)}, target
    if info.kind == "tabular":
        if not info.cardinalities:
            return {"numeric": torch.randn(rows, info.num_features)}, target
        codes = torch.stack([torch.randint(0, size, (rows,)) for size in info.cardinalities], dim=1)
        return {"numeric": torch.randn(rows, info.num_features), "categories": codes}, target
    lengths = torch.randint(1, info.max_length + 1, (rows,))
    valid = torch.arange(info.max_length) < lengths[:, None]
    if info.kind == "text":
        tokens = torch.randint(1, info.vocabulary_size, (rows, info.max_length))
        return {"tokens": tokens * valid, "lengths": lengths}, target
    series = torch.randn(rows, info.max_length, info.num_features)
    return {"series": series * valid[..., None], "lengths": lengths}, target
