"""What the configs of all families share: which data they read, and that they build a network for it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from lightning_modules.blocks.activations import saturation
from lightning_modules.blocks.dropout import disharmony
from lightning_modules.config import Config, SettingWarning, no_effect
from lightning_modules.data.base import DataInfo, Kind
from lightning_modules.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(Config):
    """The shape of a network, without the data's sizes, which `build` adds."""

    family: ClassVar[str]
    kinds: ClassVar[tuple[Kind, ...]]

    @abstractmethod
    def build(self, info: DataInfo, num_outputs: int | None = None) -> nn.Module:
        """Make the network with fresh weights, drawn from torch's global generator.

        The network is called with the mapping of inputs that `DataInfo` describes and returns logits,
        (B, num_outputs).

        Args:
            info: The data's kind and sizes.
            num_outputs: Columns of the logits; default `info.num_outputs`. The `bce` loss wants 1.

        Raises:
            ConfigError: The data does not fit the network.
        """

    def _check_kind(self, info: DataInfo) -> None:
        if info.kind not in self.kinds:
            raise ConfigError(
                f"the {self.family} family reads {' or '.join(self.kinds)} data, got {info.kind}: take "
                f"{_FAMILY_FOR[info.kind]}",
                field="family",
            )


_FAMILY_FOR: dict[Kind, str] = {
    "tabular": "mlp",
    "image": "cnn or mlp",
    "text": "rnn",
    "series": "rnn or cnn",
}


def norm_position_warnings(norm: str) -> list[SettingWarning]:
    """Warn of a place for a norm that is not there."""
    text = "with norm none: there is nothing to place"
    return [no_effect("norm_position", because=("norm",), text=text)] if norm == "none" else []


def saturation_warnings(activation: str, num_layers: int, *, because: tuple[str, ...]) -> list[SettingWarning]:
    """Warn of a deep stack of saturating activations."""
    text = saturation(activation, num_layers)
    return [] if text is None else [SettingWarning(field="activation", depends_on=because, text=text)]


def disharmony_warnings(name: str, rate: float, norm: str) -> list[SettingWarning]:
    """Warn of much dropout beside a batch norm."""
    text = disharmony(rate, norm)
    return [] if text is None else [SettingWarning(field=name, depends_on=("norm",), text=text)]
