"""What people bring along: modules of their own, found in the folder where the command is typed."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_modules.data import DataInfo


class Line(pl.LightningModule):
    """A line through points. A rate above 1 gives NaN, below 0 it raises, and `inf_at` gives an infinite loss."""

    def __init__(self, rate: float = 0.1, inf_at: int | None = None) -> None:
        super().__init__()
        if rate < 0:
            raise RuntimeError(f"a rate is positive, got {rate:.1f}")
        self.line = nn.Linear(2, 1)
        self.rate, self.inf_at = rate, inf_at

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.line(x).squeeze(1)
        return values

    def _loss(self, batch: list[Tensor]) -> Tensor:
        x, y = batch
        return nn.functional.mse_loss(self(x), y)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        if self.rate > 1:
            return loss * float("nan")
        return loss * float("inf") if self.current_epoch == self.inf_at else loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("val_loss", self._loss(batch))

    def test_step(self, batch: list[Tensor], batch_idx: int) -> None:
        self.log("test_loss", self._loss(batch))

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self(torch.as_tensor(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.rate)


class Points(pl.LightningDataModule):
    """Points on a plane and their values 2a - b + 1."""

    def __init__(self, num_rows: int = 60, batch_size: int = 16) -> None:
        super().__init__()
        self.num_rows, self.batch_size = num_rows, batch_size

    def setup(self, stage: str) -> None:
        x = torch.randn(self.num_rows, 2, generator=torch.Generator().manual_seed(0))
        rows = list(zip(x, 2 * x[:, 0] - x[:, 1] + 1, strict=True))
        third = len(rows) // 3
        self.parts = [rows[:third], rows[third : 2 * third], rows[2 * third :]]

    def _loader(self, part: int, *, shuffle: bool = False) -> DataLoader[Any]:
        x, y = zip(*self.parts[part], strict=True)
        return DataLoader(
            TensorDataset(torch.stack(x), torch.stack(y)), batch_size=self.batch_size, shuffle=shuffle
        )

    def train_dataloader(self) -> DataLoader[Any]:
        return self._loader(0, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self._loader(1)

    def test_dataloader(self) -> DataLoader[Any]:
        return self._loader(2)


class Pixels(pl.LightningModule):
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

    def _share_right(self, batch: tuple[dict[str, Tensor], Tensor]) -> Tensor:
        inputs, target = batch
        return (self.net(inputs["image"]).argmax(1) == target).float().mean()

    def training_step(self, batch: tuple[dict[str, Tensor], Tensor], batch_idx: int) -> Tensor:
        inputs, target = batch
        return nn.functional.cross_entropy(self.net(inputs["image"]), target)

    def validation_step(self, batch: tuple[dict[str, Tensor], Tensor], batch_idx: int) -> None:
        self.log("val_right", self._share_right(batch), batch_size=len(batch[1]))

    def test_step(self, batch: tuple[dict[str, Tensor], Tensor], batch_idx: int) -> None:
        self.log("test_right", self._share_right(batch), batch_size=len(batch[1]))

    def predict_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.net(batch["image"]).softmax(1)

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=self.lr)
