from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from lightning_modules.data.base import DataInfo
from lightning_modules.metrics import class_probabilities, make_metrics, make_report_metrics, name_classes

CLASSES = DataInfo(kind="tabular", task="classification", num_outputs=4, num_train=20, num_validation=5)
VALUES = DataInfo(
    kind="tabular",
    task="regression",
    num_outputs=1,
    num_train=20,
    num_validation=5,
    target_mean=150.0,
    target_std=30.0,
)


def _feed(collection, predictions, target, parts=3):
    for p, t in zip(predictions.chunk(parts), target.chunk(parts), strict=True):
        collection.update(p, t)
    return {name: value.numpy() for name, value in collection.compute().items()}


def _classified():
    torch.manual_seed(0)
    target = torch.arange(60) % 4
    return 2 * torch.nn.functional.one_hot(target, 4) + 1.5 * torch.randn(60, 4), target


def test_classification_metrics_equal_scikit_learns():
    logits, target = _classified()
    predicted = logits.argmax(1)
    values = _feed(make_report_metrics(CLASSES), logits, target)
    assert set(values) == {"accuracy", "macro_f1", "auroc", "per_class_f1", "confusion_matrix"}
    assert values["accuracy"] == pytest.approx(reference.accuracy_score(target, predicted))
    assert values["macro_f1"] == pytest.approx(reference.f1_score(target, predicted, average="macro"))
    np.testing.assert_allclose(
        values["per_class_f1"], reference.f1_score(target, predicted, average=None), rtol=1e-6
    )
    np.testing.assert_array_equal(values["confusion_matrix"], reference.confusion_matrix(target, predicted))
    area = reference.roc_auc_score(target, logits.softmax(1), multi_class="ovr")
    assert values["auroc"] == pytest.approx(area, abs=1e-6)


def test_an_epochs_metrics_are_the_cheap_ones_and_auroc_on_request():
    logits, target = _classified()
    assert set(_feed(make_metrics(CLASSES), logits, target)) == {"accuracy", "macro_f1"}
    assert set(_feed(make_metrics(CLASSES, auroc=True), logits, target)) == {"accuracy", "macro_f1", "auroc"}


def test_a_class_that_does_not_occur_is_left_out_of_the_area():
    logits, target = _classified()
    kept = target != 3
    values = _feed(make_report_metrics(CLASSES), logits[kept], target[kept], parts=2)
    probabilities = logits.softmax(1)[kept]
    areas = [reference.roc_auc_score(target[kept] == k, probabilities[:, k]) for k in range(3)]
    assert values["auroc"] == pytest.approx(np.mean(areas), abs=1e-6)


def test_one_class_alone_has_no_area():
    values = _feed(make_report_metrics(CLASSES), torch.randn(9, 4), torch.zeros(9, dtype=torch.int64))
    assert np.isnan(values["auroc"])


def test_a_report_is_written_by_the_names_of_the_classes():
    named = replace(CLASSES, num_outputs=3, class_names=("cat", "dog", "eel"))
    counts = torch.tensor([[4, 0, 1], [0, 0, 0], [2, 0, 3]])
    report = {"per_class_f1": torch.tensor([0.5, 0.0, 1.0]), "confusion_matrix": counts}
    assert name_classes(report, named) == {
        "per_class_f1": {"cat": 0.5, "dog": 0.0, "eel": 1.0},
        "confusion_matrix": {"cat": {"cat": 4, "eel": 1}, "dog": {}, "eel": {"cat": 2, "eel": 3}},
    }
    assert name_classes({"f1": torch.ones(3)}, replace(named, class_names=()))["f1"] == {"0": 1, "1": 1, "2": 1}


def test_macro_f1_counts_a_rare_class_as_much_as_a_frequent_one():
    two = replace(CLASSES, num_outputs=2)
    target = torch.tensor([0] * 90 + [1] * 10)
    always_0 = torch.tensor([[1.0, 0.0]]).expand(100, 2)
    values = _feed(make_metrics(two), always_0, target)
    assert values["accuracy"] == pytest.approx(0.9)
    assert values["macro_f1"] == pytest.approx((2 * 90 / 190 + 0) / 2)


def test_one_logit_scores_as_its_two_class_logits():
    torch.manual_seed(0)
    two = replace(CLASSES, num_outputs=2)
    z, target = torch.randn(40, 1), torch.randint(0, 2, (40,))
    both = torch.cat([torch.zeros_like(z), z], dim=1)
    torch.testing.assert_close(class_probabilities(z)[:, 1], torch.sigmoid(z[:, 0]))
    one, pair = (_feed(make_report_metrics(two), logits, target) for logits in (z, both))
    assert {k: v.tolist() for k, v in one.items()} == {k: v.tolist() for k, v in pair.items()}
    assert one["auroc"] == pytest.approx(reference.roc_auc_score(target, z[:, 0]))


def test_regression_metrics_are_in_the_targets_own_unit():
    torch.manual_seed(0)
    target, predictions = torch.randn(50), torch.randn(50, 1)
    own_target, own = 30 * target + 150, 30 * predictions[:, 0] + 150
    for make in (make_metrics, make_report_metrics):
        values = _feed(make(VALUES), predictions, target)
        assert values["rmse"] == pytest.approx(reference.root_mean_squared_error(own_target, own), rel=1e-5)
        assert values["mae"] == pytest.approx(reference.mean_absolute_error(own_target, own), rel=1e-5)
        assert values["r2"] == pytest.approx(reference.r2_score(own_target, own), rel=1e-4)


def test_a_reset_forgets_the_epoch_and_keeps_no_gradient():
    logits, target = _classified()
    collection = make_metrics(CLASSES)
    _feed(collection, logits.requires_grad_(), 0 * target)
    collection.reset()
    values = _feed(collection, logits, logits.argmax(1))
    assert values == {"accuracy": 1.0, "macro_f1": 1.0}


def test_batches_are_kept_once_for_all_metrics():
    logits, target = _classified()
    collection = make_report_metrics(CLASSES)
    _feed(collection, logits, target)
    held = {id(metric.predictions[0]) for metric in collection.values(copy_state=False)}
    assert len(held) == 1
