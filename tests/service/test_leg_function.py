"""What slots call: a leg's result, whatever the process is set to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_modules.data import TextSource
from service.engine.train import LegContext
from service.engine.work import run_leg
from service.legs import Leg, LegResult, Member

WORDS = ("who", "what", "where", "when", "why", "how", "did", "it", "rain")


@pytest.fixture
def texts(tmp_path: Path) -> LegContext:
    """LSTMs wide enough for LAPACK to share their orthogonal matrices among threads."""
    lines = [f"{'AB'[i % 2]} {WORDS[i % 9]} {WORDS[i % 7]} {WORDS[i % 5]}" for i in range(60)]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    source = TextSource(path=tmp_path / "texts.txt")
    fixed = {"width": 64, "embedding_dim": 16, "cell": "lstm"}
    return LegContext(
        family="rnn", data=source.read_training(), metric="val_loss", mode="min", max_epochs=2, fixed=fixed
    )


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("kind", "num_members"), [("train", 1), ("train", 2), ("overfit", 1)], ids=["one", "cohort", "overfit"]
)
def test_it_does_not_depend_on_the_threads_of_its_process(kind: str, num_members: int, texts: LegContext) -> None:
    members = tuple(
        Member(number=n, params={"lr": 0.01 * (n + 1)}, seed=n, checkpoint=None) for n in range(num_members)
    )
    leg = Leg(key="k", kind=kind, members=members, start_epoch=0, end_epoch=1)  # type: ignore[arg-type]

    def run_on(num_threads: int) -> LegResult:
        torch.set_num_threads(num_threads)
        result = run_leg(texts, leg)
        assert torch.get_num_threads() == num_threads  # as it was found
        return result

    one, two = run_on(1), run_on(2)
    assert [member.state for member in one.members] == [
        "completed" if kind == "overfit" else "running"
    ] * num_members
    for here, there in zip(one.members, two.members, strict=True):
        assert here.checkpoint == there.checkpoint
        assert here.measurements == there.measurements
        assert here.report == there.report
