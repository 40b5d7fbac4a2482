import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_modules.data.base import DataInfo
from lightning_modules.errors import ConfigError
from lightning_modules.losses import (
    CLASS_WEIGHTS,
    LOSSES,
    BinaryCrossEntropy,
    FocalLoss,
    balanced_weights,
    make_loss,
    num_outputs,
)
from lightning_modules.recipe import Recipe

CLASSES = DataInfo(
    kind="tabular", task="classification", num_outputs=3, num_train=20, num_validation=5, class_counts=(10, 8, 2)
)
TWO = replace(CLASSES, num_outputs=2, class_counts=(15, 5))
VALUES = DataInfo(kind="tabular", task="regression", num_outputs=1, num_train=20, num_validation=5)


def _logits(columns: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return 2 * torch.randn(30, columns), torch.randint(0, max(columns, 2), (30,))


def _cross_entropy(z, y, *, smoothing=0.0, weights=None, gamma=0.0, alpha=1.0):
    """Write the losses of classification from their formula, row by row."""
    total, norm = 0.0, 0.0
    for row, label in zip(z, y.tolist(), strict=True):
        p = torch.exp(row) / torch.exp(row).sum()
        for k in range(len(row)):
            q = (1 - smoothing) * (k == label) + smoothing / len(row)
            total = total - (1.0 if weights is None else weights[k]) * q * (1 - p[k]) ** gamma * torch.log(p[k])
        norm += 1.0 if weights is None else weights[label]
    return alpha * total / norm


def _assert_same_loss(ours, reference, z, y):
    ours_z, reference_z = (z.double().clone().requires_grad_() for _ in range(2))
    value, expected = ours(ours_z, y), reference(reference_z, y)
    torch.testing.assert_close(value, expected)
    value.backward()
    expected.backward()
    torch.testing.assert_close(ours_z.grad, reference_z.grad)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", ["none", "balanced"])
@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "bce"])
def test_a_loss_of_classification_and_its_gradient_follow_the_formula(loss, weights, smoothing):
    """With label smoothing and class weights; `bce` is cross entropy on the logits (0, z)."""
    info = TWO if loss == "bce" else CLASSES
    recipe = Recipe(loss=loss, label_smoothing=smoothing, class_weights=weights, focal_gamma=2.0)
    counts = info.class_counts
    weigh = [sum(counts) / len(counts) / count for count in counts] if weights == "balanced" else None

    def reference(z, y):
        z = torch.cat([torch.zeros_like(z), z], dim=1) if loss == "bce" else z
        return _cross_entropy(z, y, smoothing=smoothing, weights=weigh, gamma=2.0 if loss == "focal" else 0.0)

    logits, target = _logits(1 if loss == "bce" else 3)
    _assert_same_loss(make_loss(recipe, info).double(), reference, logits, target)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_focal_loss_and_its_gradient_follow_the_formula_with_alpha(gamma):
    def reference(z, y):
        return _cross_entropy(z, y, gamma=gamma, alpha=0.25)

    _assert_same_loss(FocalLoss(gamma=gamma, alpha=0.25), reference, *_logits())


def _huber(error):
    return torch.where(error.abs() <= 1.5, error**2 / 2, 1.5 * (error.abs() - 0.75))


@pytest.mark.parametrize(("loss", "formula"), [("mse", torch.square), ("mae", torch.abs), ("huber", _huber)])
def test_a_loss_of_regression_and_its_gradient_follow_the_formula(loss, formula):
    ours = make_loss(Recipe(loss=loss, huber_delta=1.5), VALUES)
    z, target = 2 * _logits(1)[0], torch.randn(30, dtype=torch.float64)
    _assert_same_loss(ours, lambda z, y: sum(formula(z[i, 0] - y[i]) for i in range(30)) / 30, z, target)


def test_the_loss_is_chosen_by_the_task():
    assert isinstance(make_loss(Recipe(), CLASSES), nn.CrossEntropyLoss)
    prediction, target = torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, 0.0])
    assert make_loss(Recipe(), VALUES)(prediction, target).item() == 2.5


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_the_focal_gradient_is_finite_for_rows_that_are_surely_right_or_wrong(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0], [0.0, 0.0]], requires_grad=True)
    FocalLoss(gamma=gamma)(logits, torch.tensor([0, 0, 1])).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", ["none", "balanced"])
def test_binary_cross_entropy_on_one_logit_equals_cross_entropy_on_two(smoothing, weights):
    z, target = _logits(1)
    settings = {"label_smoothing": smoothing, "class_weights": weights}
    ours = make_loss(Recipe(loss="bce", **settings), TWO)(z, target)
    two = torch.cat([torch.zeros_like(z), z], dim=1)
    torch.testing.assert_close(ours, make_loss(Recipe(loss="cross_entropy", **settings), TWO)(two, target))


def test_binary_cross_entropy_stays_finite_on_extreme_logits():
    z = torch.tensor([[1e4], [-1e4]], requires_grad=True)
    for weight in (None, torch.ones(2)):
        loss = BinaryCrossEntropy(weight=weight)(z, torch.tensor([0, 1]))
        assert loss.item() == pytest.approx(1e4)


def test_mae_is_the_mean_distance():
    loss = make_loss(Recipe(loss="mae"), VALUES)
    assert loss(torch.tensor([[1.0], [-3.0]]), torch.zeros(2)).item() == 2.0


def test_a_regression_loss_never_compares_every_row_with_every_other():
    torch.manual_seed(0)
    prediction, target = torch.randn(8, 1), torch.randn(8)
    expected = sum((p - t) ** 2 for p, t in zip(prediction[:, 0], target, strict=True)) / 8
    torch.testing.assert_close(make_loss(Recipe(), VALUES)(prediction, target), expected)
    with pytest.raises(ConfigError, match=r"shape \(B, 1\), got \(8, 2\)"):
        make_loss(Recipe(), VALUES)(torch.randn(8, 2), target)


def test_balanced_weights_give_every_class_the_same_say_and_an_average_row_weight_1():
    weights = balanced_weights(CLASSES)
    counts = torch.tensor(CLASSES.class_counts)
    torch.testing.assert_close(weights * counts, torch.full((3,), 20 / 3))
    assert balanced_weights(replace(CLASSES, class_counts=(10, 10, 0))).tolist() == [1.0, 1.0, 0.0]


def test_balanced_weights_need_the_counts():
    with pytest.raises(ConfigError, match="needs the count of each of 3 classes"):
        make_loss(Recipe(class_weights="balanced"), replace(CLASSES, class_counts=()))


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_weights_by_name_count_a_row_as_often_as_they_say(loss):
    named = replace(CLASSES, class_names=("cat", "dog", "eel"))
    logits, target = _logits()
    weighted = make_loss(Recipe(loss=loss, class_weights={"eel": 3, "cat": 2.0}), named)(logits, target)
    rows = torch.cat(
        [torch.arange(len(target)), (target == 0).nonzero()[:, 0], *[(target == 2).nonzero()[:, 0]] * 2]
    )
    plain = make_loss(Recipe(loss=loss), named)(logits[rows], target[rows])
    torch.testing.assert_close(weighted, plain)


@pytest.mark.parametrize(
    ("weights", "info", "message"),
    [
        ("heavy", CLASSES, "must be none, balanced or weights by name, got 'heavy'"),
        (["cat"], CLASSES, r"must be none, balanced or weights by name, got \['cat'\]"),
        ({"cat": 0}, CLASSES, "a weight must be a finite number above 0 behind a name, got 0 for 'cat'"),
        ({"cat": math.nan}, CLASSES, "a weight must be a finite number above 0 behind a name, got nan"),
        ({"cat": True}, CLASSES, "a weight must be .* got True"),
        ({1: 2.0}, CLASSES, "a weight must be .* got 2.0 for 1"),
        ({"cot": 2.0}, CLASSES, "a class must be one of cat, dog, eel, got 'cot': did you mean 'cat'"),
        ({"cat": 2.0}, VALUES, "class weights need classes, got .* for regression: take none"),
        ("balanced", VALUES, "class weights need classes, got 'balanced' for regression"),
    ],
)
def test_class_weights_that_do_not_fit_are_refused(weights, info, message):
    named = replace(info, class_names=("cat", "dog", "eel"))
    with pytest.raises(ConfigError, match=f"^class_weights: {message}"):
        make_loss(Recipe(class_weights=weights), named)


@pytest.mark.parametrize(
    ("loss", "info"), [("mse", CLASSES), ("huber", TWO), ("cross_entropy", VALUES), ("focal", VALUES)]
)
def test_a_loss_that_contradicts_the_task_is_refused(loss, info):
    with pytest.raises(
        ConfigError, match=f"loss: a loss must fit the task, got '{loss}' for {info.task}: take auto"
    ):
        make_loss(Recipe(loss=loss), info)


def test_bce_is_refused_for_more_than_two_classes():
    with pytest.raises(ConfigError, match="'bce' needs exactly 2 classes, got 3"):
        make_loss(Recipe(loss="bce"), CLASSES)


def test_only_bce_asks_for_one_output():
    assert [num_outputs(Recipe(loss=name), TWO) for name in ("auto", "focal", "bce")] == [2, 2, 1]
    assert num_outputs(Recipe(), VALUES) == 1


def test_an_even_guess_costs_the_logarithm_of_the_number_of_classes():
    for name in ("cross_entropy", "focal"):
        recipe = Recipe(loss=name, focal_gamma=0.0)
        assert make_loss(recipe, CLASSES)(torch.zeros(5, 3), torch.arange(5) % 3).item() == pytest.approx(
            math.log(3)
        )


def test_every_loss_and_weight_is_tested_and_described():
    assert set(LOSSES) == {"cross_entropy", "bce", "focal", "mse", "mae", "huber"}
    assert set(CLASS_WEIGHTS) == {"none", "balanced"}
    for entry in (*LOSSES.values(), *CLASS_WEIGHTS.values()):
        assert all((entry.formula, entry.range, entry.used_for, entry.source))
