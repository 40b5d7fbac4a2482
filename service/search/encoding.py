"""How a parameter looks to Optuna: its distribution, and its values."""

from __future__ import annotations

from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from search_spaces import Choice, Float, Parameter, Value


def distribution(parameter: Parameter) -> BaseDistribution:
    """Give a parameter's distribution; ordered choices are their indices, for neighbours are alike."""
    if isinstance(parameter, Float):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, Choice):
        if parameter.ordered:
            return IntDistribution(0, len(parameter.choices) - 1)
        return CategoricalDistribution(parameter.choices)
    return IntDistribution(parameter.low, parameter.high, log=parameter.log)


def encode(parameter: Parameter, value: Value) -> Any:
    """Turn a value into Optuna's."""
    if isinstance(parameter, Choice) and parameter.ordered:
        return parameter.choices.index(value)
    return value


def decode(parameter: Parameter, value: Any) -> Value:
    """Turn Optuna's value back."""
    decoded: Value = value
    if isinstance(parameter, Choice) and parameter.ordered:
        decoded = parameter.choices[value]
    return decoded
