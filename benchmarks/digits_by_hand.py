"""`benchmarks.digits_problem` written by hand: what a person writes with Lightning and torchmetrics for it."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import Logger
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from benchmarks.digits_problem import FIXED, METRIC, MOMENTUM, TEST_FRACTION, VALIDATION_FRACTION

Arrays = dict[str, NDArray[Any]]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


def load_arrays(seed: int = 0) -> Arrays:
    """Read the digits as float32 in [0, 1] and split them by class: 70 % train, 15 % validation, 15 % test.

    Returns:
        `x_train` (1257, 64), `y_train` (1257,), `x_val` (270, 64), `y_val` (270,); the test rows stay out.
    """
    features, labels = load_digits(return_X_y=True)
    features = (features / 16.0).astype(np.float32)
    x_rest, _, y_rest, _ = train_test_split(
        features, labels, test_size=TEST_FRACTION, stratify=labels, random_state=seed
    )
    x_train, x_val, y_train, y_val = train_test_split(
        x_rest,
        y_rest,
        test_size=VALIDATION_FRACTION / (1 - TEST_FRACTION),
        stratify=y_rest,
        random_state=seed,
    )
    return {"x_train": x_train, "y_train": y_train, "x_val": x_val, "y_val": y_val}


def make_loaders(arrays: Arrays, batch_size: int) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Wrap the arrays in the loaders that Lightning's first page shows; no workers for data in memory."""
    train = TensorDataset(torch.from_numpy(arrays["x_train"]), torch.from_numpy(arrays["y_train"]))
    validation = TensorDataset(torch.from_numpy(arrays["x_val"]), torch.from_numpy(arrays["y_val"]))
    return (
        DataLoader(train, batch_size=batch_size, shuffle=True),
        DataLoader(validation, batch_size=512),
    )


class DigitsMLP(pl.LightningModule):
    """A multilayer perceptron on 64 pixels, ten classes.

    Shapes:
        x: (B, 64) float32 -> (B, 10) logits
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.config = config
        layers: list[nn.Module] = []
        width_in = 64
        for _ in range(FIXED["depth"]):
            layers += [
                nn.Linear(width_in, config["width"]),
                _ACTIVATIONS[config["activation"]](),
                nn.Dropout(config["dropout"]),
            ]
            width_in = config["width"]
        self.network = nn.Sequential(*layers, nn.Linear(width_in, 10))
        self.accuracy = MulticlassAccuracy(num_classes=10, average="micro")

    def forward(self, x: Tensor) -> Tensor:
        """Give the logits."""
        logits: Tensor = self.network(x)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Give the loss of one batch."""
        x, y = batch
        loss = F.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log loss and accuracy of one batch."""
        x, y = batch
        logits = self(x)
        self.accuracy(logits, y)
        self.log("val_loss", F.cross_entropy(logits, y))
        self.log(METRIC, self.accuracy)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make the optimizer that the config names."""
        rate, decay = self.config["lr"], self.config["weight_decay"]
        if self.config["optimizer"] == "momentum":
            return torch.optim.SGD(self.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=decay)
        return torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=decay)


def make_trainer(
    *,
    max_epochs: int,
    callbacks: list[pl.Callback],
    logger: Logger | Literal[False] = False,
) -> pl.Trainer:
    """Make a trainer for short runs on one CPU, as quiet and as light as its documentation allows."""
    return pl.Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        devices=1,
        logger=logger,
        enable_checkpointing=any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=callbacks,
    )
