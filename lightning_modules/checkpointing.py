"""Checkpoints as bytes: the state that a trial goes on from, and its best epoch's weights."""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

import torch
from pytorch_lightning.plugins import CheckpointIO
from torch import Tensor

MEMORY = "memory"  # stands where Lightning wants a path
TRIAL_KEY = "trial"  # the trial's own record inside a checkpoint, see `lightning_modules.trial`
_HPARAMS_KEYS = ("hyper_parameters", "datamodule_hyper_parameters")


class MemoryCheckpointIO(CheckpointIO):
    """Keeps one checkpoint in memory instead of files.

    Args:
        content: The checkpoint to load, as bytes or already read; None if training starts from nothing.
    """

    def __init__(self, content: bytes | dict[str, Any] | None = None) -> None:
        self.content = content

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Serialize a checkpoint into `content`."""
        for key in _HPARAMS_KEYS:
            if key in checkpoint:
                checkpoint[key] = _primitives(checkpoint[key])
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        self.content = buffer.getvalue()

    def load_checkpoint(
        self, path: Any, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read `content`; always as weights only, and onto the CPU."""
        if self.content is None:
            raise ValueError("there is no checkpoint in memory: train from epoch 0, or give one")
        return read_checkpoint(self.content) if isinstance(self.content, bytes) else self.content

    def remove_checkpoint(self, path: Any) -> None:
        """Forget the checkpoint."""
        self.content = None


def _primitives(hparams: dict[str, Any]) -> dict[str, Any]:
    """Keep what loads as weights only: a module may have saved any object, and none of it is needed to go on."""
    return {key: value for key, value in hparams.items() if isinstance(value, bool | int | float | str | None)}


def read_checkpoint(checkpoint: bytes) -> dict[str, Any]:
    """Read a checkpoint's dictionary, tensors on the CPU.

    Raises:
        ValueError: The bytes are no checkpoint, or hold objects other than tensors and primitives.
    """
    try:
        content = torch.load(io.BytesIO(checkpoint), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        raise ValueError(
            "a checkpoint holds tensors and primitives alone, as it is read with weights_only=True, got "
            f"{found[1] if found else f'{len(checkpoint)} bytes that are none'}: keep other objects out of "
            "on_save_checkpoint and state_dict"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"a checkpoint is a dictionary, got {type(content).__name__}: give one that train() made")
    return content


def best_state(checkpoint: bytes) -> tuple[dict[str, Tensor], int, float]:
    """Read the best epoch's weights.

    Args:
        checkpoint: What `train` gave.

    Returns:
        The module's state dict at the end of that epoch, the epoch (from 1), and the objective's value there.

    Raises:
        ValueError: The bytes are no checkpoint of `train`, or no epoch of it had a finite objective.
    """
    record = _record(read_checkpoint(checkpoint))
    return record["best_weights"], record["best_epoch"], record["best_value"]


def best_checkpoint(checkpoint: bytes) -> dict[str, Any]:
    """Read a checkpoint with the best epoch's weights in the place of the last one's.

    Raises:
        ValueError: As `best_state`.
    """
    content = read_checkpoint(checkpoint)
    return {**content, "state_dict": _record(content)["best_weights"]}


def _record(content: dict[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] | None = content.get(TRIAL_KEY)
    if record is None:
        raise ValueError("the best epoch is on record in checkpoints that train() made alone: give one of those")
    if record["best_weights"] is None:
        raise ValueError(f"no epoch up to {record['epoch']} had a finite objective: there are no best weights")
    return record
