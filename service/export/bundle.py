"""Bundles: what a job hands over. A folder that runs anywhere where the package is installed.

bundle.json             what it is: family, settings, data description, preprocessing, files with checksums
checkpoint.ckpt         the best epoch's weights; torch.load(..., weights_only=True)
model.safetensors       the same weights, if asked for
spec.yaml               the job as it was submitted
metrics.json            validation metrics of the best epoch, and the test split's
environment.json        versions of Python, platform and packages
lineage.json            job, trial, seeds, data fingerprint, and the incumbents that led here
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import yaml

from lightning_modules.checkpointing import best_state
from lightning_modules.data import DataInfo, preprocessor_from_dict
from lightning_modules.errors import ConfigError
from lightning_modules.families import FAMILIES
from lightning_modules.task import build_task
from lightning_modules.uncertainty import predict_spread
from service.bundle_files import CHECKPOINT, FORMAT, MANIFEST, SAFETENSORS, check_free, checksum, read_manifest
from service.errors import InvalidSpecError


@dataclass(frozen=True, kw_only=True)
class BundleContents:
    """Everything that goes into a bundle.

    Args:
        family: mlp, cnn or rnn, or the import path of a person's own module.
        settings: All settings of the winner: the spec's fixed ones and the trial's params.
        info: The data's description; None for a person's own data module.
        preprocessing: What turns raw rows into inputs.
        checkpoint: The winner's, best epoch included.
        spec: The job's spec.
        metrics: `validation`, `test` and `best_epoch`.
        lineage: Where the weights come from.
        environment: Versions.
        formats: Files beside the checkpoint.
    """

    family: str
    settings: Mapping[str, Any]
    info: DataInfo | None
    preprocessing: Mapping[str, Any]
    checkpoint: bytes
    spec: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    environment: Mapping[str, Any]
    formats: Sequence[str] = ("checkpoint",)


def write_bundle(contents: BundleContents, folder: Path, *, replace: bool) -> Path:
    """Write a bundle; the folder is there whole, or not at all.

    Args:
        contents: What goes in.
        folder: Where.
        replace: Whether a bundle that stands there gives way.

    Raises:
        ConflictError: Something stands there and may not be replaced.
    """
    if not (replace and (folder / MANIFEST).exists()):
        check_free(folder)
    half = folder.with_name(f".{folder.name}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    try:
        _write_files(contents, half)
        if folder.exists():
            shutil.rmtree(folder)
        half.rename(folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return folder


def _write_files(contents: BundleContents, folder: Path) -> None:
    weights, epoch, value = best_state(contents.checkpoint)
    torch.save({"state_dict": weights, "epoch": epoch, "objective": value}, folder / CHECKPOINT)
    if "safetensors" in contents.formats:
        from safetensors.torch import save_file

        save_file({name: tensor.clone().contiguous() for name, tensor in weights.items()}, folder / SAFETENSORS)
    (folder / "spec.yaml").write_text(yaml.safe_dump(dict(contents.spec), sort_keys=False), encoding="utf-8")
    for name in ("metrics", "lineage", "environment"):
        _write_json(folder / f"{name}.json", getattr(contents, name))
    manifest = {
        "format": FORMAT,
        "family": contents.family,
        "settings": dict(contents.settings),
        "info": asdict(contents.info) if contents.info else None,
        "preprocessing": dict(contents.preprocessing),
        "files": {path.name: checksum(path) for path in sorted(folder.iterdir())},
    }
    _write_json(folder / MANIFEST, manifest)


def _write_json(path: Path, value: Any) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, allow_nan=False, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def load_bundle(path: Path | str) -> Bundle:
    """Load a bundle.

    Args:
        path: The bundle's folder.

    Returns:
        A network that predicts: `load_bundle(path).predict(rows)`.

    Raises:
        NotFoundError: There is no bundle.
        InvalidSpecError: It is of another format, or a file of it was changed or lost.
    """
    folder = Path(path).expanduser()
    return Bundle(folder, read_manifest(folder))


class Bundle:
    """A trained network with all that it needs to predict from raw rows.

    Args:
        folder: Where it lies.
        manifest: What `bundle.json` holds.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.family: str = manifest["family"]
        self.settings: Mapping[str, Any] = manifest["settings"]
        self.info = _read_info(manifest["info"])
        self._preprocessing = manifest["preprocessing"]

    def __repr__(self) -> str:
        return f"Bundle({str(self.folder)!r}, family={self.family!r})"

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Validation metrics of the best epoch and the test split's."""
        return self._read("metrics")

    @cached_property
    def lineage(self) -> dict[str, Any]:
        """Where the weights come from."""
        return self._read("lineage")

    @cached_property
    def spec(self) -> dict[str, Any]:
        """The job as it was submitted."""
        document: dict[str, Any] = yaml.safe_load((self.folder / "spec.yaml").read_text(encoding="utf-8"))
        return document

    @cached_property
    def module(self) -> pl.LightningModule:
        """The LightningModule with the best epoch's weights, in evaluation mode, on the CPU."""
        state = torch.load(self.folder / CHECKPOINT, map_location="cpu", weights_only=True)["state_dict"]
        with torch.random.fork_rng():  # building draws weights; the caller's random state stays as it is
            module = self._build()
        module.load_state_dict(state)
        return module.eval().requires_grad_(False)

    @property
    def network(self) -> torch.nn.Module:
        """The network alone: inputs -> logits. A person's own module is its own network."""
        network = self.module.network if self.family in FAMILIES else self.module
        assert isinstance(network, torch.nn.Module)
        return network

    def predict(self, rows: Any) -> np.ndarray[Any, Any]:
        """Predict from raw rows, as the data source read them.

        Args:
            rows: A table (DataFrame, list of dicts, or array in the order of the columns); images, (N, H, W) or
                (N, C, H, W) with the original range, or a list of paths of image files; a list of texts; series,
                (N, T, C) or a list of (T, C). For a person's own module: what its `predict_step` takes.

        Returns:
            (N,) class names, or values in the target's own unit.
        """
        scores = self.predict_scores(rows)
        if self.info is None or self.info.task == "regression":
            return scores
        names: np.ndarray[Any, Any] = np.asarray(self.info.class_names)[scores.argmax(axis=1)]
        return names

    def predict_scores(self, rows: Any) -> np.ndarray[Any, Any]:
        """Predict probabilities, (N, num_classes), or values in the target's own unit, (N,)."""
        batch = self._batch(rows)
        with torch.inference_mode():
            predicted: torch.Tensor = self.module.predict_step(batch, 0)
        values: np.ndarray[Any, Any] = predicted.numpy()
        return values

    def predict_with_uncertainty(
        self, rows: Any, *, num_passes: int = 30, seed: int = 0
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Predict several times with dropout on (Monte-Carlo dropout); all else, batch norm too, as in `predict`.

        Args:
            rows: As for `predict`.
            num_passes: Predictions to average over, at least 2; the deviation's own error is about
                1 / sqrt(2 num_passes) of it.
            seed: The same seed gives the same answer; torch's global generators stay as they are.

        Returns:
            Mean and standard deviation of the passes, each shaped as what `predict_scores` gives.

        Raises:
            InvalidSpecError: The network has no dropout above 0, or there are fewer than 2 passes.

        Source:
            Gal & Ghahramani 2016, arXiv:1506.02142.
        """
        batch, module = self._batch(rows), self.module
        try:
            spread = predict_spread(
                module, lambda: module.predict_step(batch, 0), num_passes=num_passes, seed=seed
            )
        except ConfigError as error:
            raise InvalidSpecError(str(error)) from None
        return spread.mean.numpy(), spread.std.numpy()

    def _batch(self, rows: Any) -> Any:
        if not self._preprocessing:
            return rows
        inputs = preprocessor_from_dict(self._preprocessing).transform(rows)
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in inputs.items()}

    def _build(self) -> pl.LightningModule:
        if self.family in FAMILIES:
            assert self.info is not None
            return build_task(self.family, self.settings, self.info, max_epochs=1, steps_per_epoch=1)
        from service.own_code import import_class, make_module

        module: pl.LightningModule = make_module(import_class(self.family), self.settings, info=self.info)
        return module

    def _read(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        return document


def _read_info(body: Mapping[str, Any] | None) -> DataInfo | None:
    if body is None:
        return None
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}
    return DataInfo(**fields)
