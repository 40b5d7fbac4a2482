"""A store whose database is away is asked again."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.errors import NotFoundError, StoreUnavailableError
from service.store import Store, sqlite_url
from service.worker.patience import keep_trying, patient


class Moody(Store):
    """A store that is away the first few times."""

    num_refusals = 2

    def num_jobs(self, *, owner: str | None = None) -> dict:  # type: ignore[override, type-arg]
        self.num_refusals -= 1
        if self.num_refusals >= 0:
            raise StoreUnavailableError("the store must answer, it does not: start it")
        return super().num_jobs(owner=owner)


def test_what_the_database_did_not_answer_is_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Moody.open(sqlite_url(tmp_path / "store.db")) as store:
        assert sum(patient(store).num_jobs(owner="ann").values()) == 0
    assert capsys.readouterr().err.count("waiting for the store: the store must answer") == 2


def test_other_errors_and_other_attributes_come_through(tmp_path: Path) -> None:
    with Store.open(sqlite_url(tmp_path / "store.db")) as store:
        assert patient(store).url == store.url
        with pytest.raises(NotFoundError, match="no job has the id"):
            patient(store).job("nothing")


def test_a_function_is_called_until_it_is_answered() -> None:
    answers = [StoreUnavailableError("away"), 42]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return int(answer)  # type: ignore[call-overload, no-any-return]

    assert keep_trying(ask) == 42
