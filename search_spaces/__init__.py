"""What may vary and in which order: pure Python, no torch, no ray, no optuna."""

from search_spaces.errors import SpaceError
from search_spaces.lr_range import LrRange, suggest_lr_range
from search_spaces.parameters import Choice, Float, Int, Parameter, Value
from search_spaces.priority import (
    DEFAULT_ORDER,
    PRIORITIES,
    Priority,
    StageOutline,
    describe_importances,
    outline_stages,
)
from search_spaces.registry import SPACES, get_space
from search_spaces.scaling import scaled_learning_rate
from search_spaces.space import Condition, SearchSpace

__all__ = [
    "DEFAULT_ORDER",
    "PRIORITIES",
    "SPACES",
    "Choice",
    "Condition",
    "Float",
    "Int",
    "LrRange",
    "Parameter",
    "Priority",
    "SearchSpace",
    "SpaceError",
    "StageOutline",
    "Value",
    "describe_importances",
    "get_space",
    "outline_stages",
    "scaled_learning_rate",
    "suggest_lr_range",
]
