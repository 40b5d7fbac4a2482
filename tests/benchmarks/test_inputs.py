"""The input benchmark compares the same training with two loaders."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks import inputs


def test_both_loaders_give_the_same_rows_and_so_the_same_losses(capsys: pytest.CaptureFixture[str]) -> None:
    threads = torch.get_num_threads()
    try:
        inputs.main(["--json", "--epochs", "2", "--batch-sizes", "500", "250"])
    finally:
        torch.set_num_threads(threads)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["batch_size"] == 500
    assert set(result["by_batch_size"]) == {"250", "500"}
    for part in result["by_batch_size"].values():
        losses = part["losses"]
        assert losses["batch_loader"] == losses["data_loader"]
        assert len(losses["batch_loader"]) == 3
        assert losses["batch_loader"][-1] < losses["batch_loader"][0]
        rates = part["samples_per_second"]
        assert part["ratio"] == pytest.approx(rates["batch_loader"] / rates["data_loader"])


def test_losses_that_differ_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs.SameOrder, "__iter__", lambda self: iter(range(self.num_rows)))
    with pytest.raises(RuntimeError, match="both loaders must give the same losses"):
        inputs.compare(epochs=1, batch_size=64)


def test_sizes_below_one_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        inputs.main(["--batch-sizes", "0"])
    assert "--batch-sizes is at least 1, got 0" in capsys.readouterr().err
