"""What a person brings along: modules and a data module, by import path."""

from __future__ import annotations

from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_modules.data import DataInfo


class PixelNet(pl.LightningModule):
    """For built-in images: `info` tells it the sizes."""

    def __init__(self, info: DataInfo, hidden: int = 16, lr: float = 1e-3) -> None:
        super().__init__()
        assert info.image_shape is not None
        channels, height, width = info.image_shape
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * height * width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, info.num_outputs),
        )
        self.lr = lr

    def _loss(self, batch: tuple[dict[str, Tensor], Tensor]) -> Tensor:
        inputs, target = batch
        return nn.functional.cross_entropy(self.net(inputs["image"]), target)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Untested(pl.LightningModule):
    """A line through points, for `Points`. It has no test."""

    def __init__(self, lr: float = 0.1, fail_at: int | None = None, nan_at: int | None = None) -> None:
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.lr, self.fail_at, self.nan_at = lr, fail_at, nan_at

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        if self.current_epoch == self.fail_at:
            _give_up(self.fail_at)
        x, y = batch
        loss = nn.functional.mse_loss(self.line(x).squeeze(1), y)
        return loss * float("nan") if self.current_epoch == self.nan_at else loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", nn.functional.mse_loss(self.line(x).squeeze(1), y))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def _give_up(epoch: int) -> None:
    torch.zeros(2, 3) @ torch.zeros(2, epoch + 4)


class Line(Untested):
    """The same with a test."""

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        x, y = batch
        self.log("test_loss", nn.functional.mse_loss(self.line(x).squeeze(1), y))


class Anything(Line):
    """Takes every hyperparameter and writes it down."""

    seen: ClassVar[list[dict[str, Any]]] = []

    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        Anything.seen.append(kwargs)


class Stopping(Line):
    """Is interrupted by the person at the keyboard, or ends the process."""

    def __init__(self, error: str) -> None:
        super().__init__()
        self.error = {"keyboard": KeyboardInterrupt, "exit": SystemExit}[error]

    def on_train_epoch_start(self) -> None:
        raise self.error


class Points(pl.LightningDataModule):
    """Points on a plane, split at random by torch's global generator as the tutorials do."""

    made: ClassVar[list[dict[str, Any]]] = []
    num_prepared: ClassVar[int] = 0
    splits: ClassVar[list[list[int]]] = []

    def __init__(self, num_rows: int = 60, batch_size: int = 16) -> None:
        super().__init__()
        Points.made.append({"num_rows": num_rows, "batch_size": batch_size})
        self.num_rows, self.batch_size = num_rows, batch_size

    def prepare_data(self) -> None:
        Points.num_prepared += 1

    def setup(self, stage: str) -> None:
        x = torch.randn(self.num_rows, 2, generator=torch.Generator().manual_seed(0))
        rows = TensorDataset(x, 2 * x[:, 0] - x[:, 1] + 1)
        self.train, self.validation, self.test = random_split(rows, [0.6, 0.2, 0.2])
        Points.splits.append(list(self.validation.indices))

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.train, batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.validation, batch_size=self.batch_size)

    def test_dataloader(self) -> DataLoader[Any]:
        return DataLoader(self.test, batch_size=self.batch_size)
