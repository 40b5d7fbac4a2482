"""The commands against a server process: what they print, and how they end."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from server_process import SPEC, Served, Worker

from service.store import Role


@dataclass
class Person:
    """Somebody at a terminal: a folder, an environment, and the command."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "service.cli", *map(str, words)]

    def variables(self) -> dict[str, str]:
        bare = {key: value for key, value in os.environ.items() if not key.startswith("TUNELADDER_")}
        return bare | {"TUNELADDER_PROFILE_FILE": str(self.folder / "profiles.toml")} | self.environment

    def run(self, *words: object, code: int = 0, typed: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*words),
            env=self.variables(),
            cwd=self.folder,
            input=typed,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def ask(self, *words: object) -> Any:
        return json.loads(self.run(*words, "--json").stdout)

    def refused(self, *words: object, code: int = 2) -> str:
        done = self.run(*words, code=code)
        assert done.stdout == ""
        assert done.stderr.count("error: ") == 1
        return done.stderr

    def spec(self, name: str, **changes: Any) -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(SPEC | {"name": name} | changes), encoding="utf-8")
        return path


@pytest.fixture
def ada(served: Served, tmp_path: Path) -> Person:
    """A submitter whose environment names the server."""
    return Person(tmp_path, {"TUNELADDER_URL": served.url, "TUNELADDER_TOKEN": served.token()})


@pytest.fixture
def root(served: Served, tmp_path: Path) -> Person:
    """An administrator."""
    return Person(tmp_path, {"TUNELADDER_URL": served.url, "TUNELADDER_TOKEN": served.token("root", Role.ADMIN)})


@pytest.fixture(scope="module")
def finished(served: Served) -> str:
    """A job of Ada's that has come to its end."""
    job = served.client().submit(SPEC | {"name": "finished"}, priority=999)
    Worker(served, job.id).go()
    return job.id


def test_a_submitted_job_is_named_with_what_to_type_next(ada: Person) -> None:
    done = ada.run("submit", ada.spec("named"), "--priority", "3")
    match = re.fullmatch(r"job (\w+) named is queued\nnext: tuneladder watch (\w+)\n", done.stdout)
    assert match
    assert match[1] == match[2]
    assert ada.ask("show", match[1])["priority"] == 3
    assert ada.run("submit", ada.spec("named"), "--quiet").stdout.strip() != match[1]  # another one
    assert {job["state"] for job in ada.ask("jobs", "--name", "named")} == {"queued"}


def test_a_key_of_one_s_own_hands_a_spec_in_once(ada: Person) -> None:
    first = ada.ask("submit", ada.spec("keyed"), "--idempotency-key", "monday")
    again = ada.ask("submit", ada.spec("keyed"), "--idempotency-key", "monday")
    assert (again["job_id"], first["is_repeat"], again["is_repeat"]) == (first["job_id"], False, True)
    assert (
        "handed in before with this key"
        in ada.run("submit", ada.spec("keyed"), "--idempotency-key", "monday").stdout
    )
    assert "stands for one request" in ada.refused("submit", ada.spec("other"), "--idempotency-key", "monday")


def test_a_path_of_this_machine_is_explained(ada: Person) -> None:
    (ada.folder / "table.csv").write_text("x,y\n1,2\n")
    said = ada.refused("submit", ada.spec("local", data={"csv": "table.csv", "target": "y"}))
    assert "note: files in a submitted spec are the server's, data.csv is table.csv: it is on this machine" in said
    said = ada.refused("submit", ada.spec("gone", data={"csv": "none.csv", "target": "y"}))
    assert "note: files in a submitted spec are the server's, data.csv is none.csv: name it as" in said
    assert "note:" not in ada.refused("submit", ada.spec("wrong", budget={"epochs": 0}))
    assert "readable text file" in ada.refused("submit", "no-such-file.yaml")


def test_a_job_is_moved_and_every_command_says_where_it_stands(ada: Person) -> None:
    job = ada.ask("submit", ada.spec("moved"))["job_id"]
    assert ada.run("pause", job).stdout == f"job {job} moved: paused, priority 0\n"
    assert ada.ask("resume", job)["state"] == "queued"
    assert ada.run("priority", job, "7", "--quiet").stdout == ""
    assert ada.ask("priority", job, "-2")["priority"] == -2
    assert ada.run("cancel", job[:11]).stdout == f"job {job} moved: cancelled, priority -2\n"
    assert "cancelled job cannot become" in ada.refused("resume", job)
    assert "no job has the id 'zzzz'" in ada.refused("cancel", "zzzz")


def test_tables_of_a_server_are_those_of_its_home(served: Served, ada: Person, finished: str) -> None:
    for words in (["trials", finished], ["trials", finished, "--json"], ["show", finished, "--json"]):
        there, here = ada.run(*words), ada.run(*words, "--home", served.home)
        assert there.stdout.replace('"bundle": null', "") == re.sub('"bundle": "[^"]*"', "", here.stdout)
    there, here = (
        ada.run("jobs", "--name", "finished"),
        ada.run("jobs", "--name", "finished", "--home", served.home),
    )
    assert there.stdout == here.stdout
    assert re.search(rf"{finished} .* 4 +12 +val_accuracy 0\.9 ", there.stdout)
    (listed,) = ada.ask("jobs", "--name", "finished")
    assert (listed["num_trials"], listed["num_epochs"], listed["best_value"]) == (4, 12, pytest.approx(0.9))
    there, here = ada.run("best", finished), ada.run("best", finished, "--home", served.home)
    assert there.stdout.partition("bundle: ")[0] == here.stdout.partition("bundle: ")[0]
    assert "winner: trial 1, val_accuracy 0.9 at epoch 4" in there.stdout
    assert there.stdout.endswith(f"next: tuneladder trials {finished}   or   tuneladder export {finished}\n")


def test_show_has_the_stages_and_how_they_ended(ada: Person, finished: str) -> None:
    shown = ada.run("show", finished).stdout
    assert re.search(r"\+ +lr +lr +2 +6 +first incumbent: trial 1", shown)
    assert re.search(r"= +width +width +2 +6 +trial 1 stays", shown)
    assert "incumbent: trial 1, val_accuracy 0.9000 (lr=1.5)" in shown
    described = ada.ask("show", finished)
    assert [stage["outcome"]["adopted"] for stage in described["stages"]] == [True, False]
    assert described["spec"]["name"] == "finished"


def test_jobs_are_listed_newest_first_and_the_latest_is_the_default(ada: Person) -> None:
    first, second = (ada.ask("submit", ada.spec(name))["job_id"] for name in ("older", "newer"))
    listed = ada.ask("jobs", "--limit", "2")
    assert [job["job_id"] for job in listed] == [second, first]
    assert ada.ask("show")["job_id"] == second
    assert "is queued" in ada.refused("best")
    assert ada.ask("jobs", "--state", "cancelled", "--name", "newer") == []
    assert "administrators" in ada.refused("jobs", "--owner", "bob")


def test_an_exported_bundle_is_fetched_and_never_over_anything(ada: Person, finished: str) -> None:
    answer = ada.ask("export", finished, "--to", "a folder/bundle")
    folder = ada.folder / "a folder" / "bundle"
    assert answer == {"job_id": finished, "bundle": str(folder)}
    assert (folder / "bundle.json").exists()
    assert "choose another with --to" in ada.refused("export", finished, "--to", folder)
    assert ada.run("export", finished).stdout == f"bundle: {ada.folder / f'bundle-{finished}'}\n"


def test_a_watch_shows_stages_as_they_end_and_then_the_result(served: Served, ada: Person) -> None:
    job = ada.ask("submit", ada.spec("watched"), "--priority", "950")["job_id"]
    with started(ada, "watch", job) as process:
        assert "queued: waiting for a worker" in line_of(process)
        Worker(served, job).go()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stage 0 lr: 2 trials, 6 epochs: first incumbent: trial 1\n" in err
    assert "stage 1 width: 2 trials, 6 epochs: trial 1 stays" in err
    assert out.startswith(f"job {job} watched: completed after 4 trials and 12 epochs")
    assert ada.ask("watch", job)["state"] == "completed"
    assert ada.run("watch", job, "--quiet").stderr == ""


def test_submit_and_watch_in_one_end_as_the_job_does(served: Served, ada: Person) -> None:
    words = ("submit", ada.spec("failing"), "--watch", "--json", "--priority", "960")
    with started(ada, *words) as process:
        job = line_of(process).split()[1]
        line_of(process)
        Worker(served, job, steps=4).store.fail_job(job, "no trial gave a finite val_accuracy")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert json.loads(out)["state"] == "failed"
    assert f"error: job {job} failing is failed: no trial gave a finite val_accuracy" in err


def test_ctrl_c_ends_the_watching_and_not_the_job(served: Served, ada: Person) -> None:
    job = ada.ask("submit", ada.spec("left"), "--priority", "970")["job_id"]
    with started(ada, "watch", job) as process:
        line_of(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert f"the job goes on; tuneladder watch {job} follows it again, tuneladder cancel {job} ends it" in err
    assert ada.ask("show", job)["state"] == "queued"
    ada.run("cancel", job)
    assert f"job {job} left is cancelled" in ada.run("watch", job, code=1).stderr


def restore_interrupts() -> None:
    """Let Ctrl-C end a command where the tests themselves run in the background of a shell, which ignores it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(person: Person, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        person.command(*words), env=person.variables(), cwd=person.folder, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, bufsize=1,
        preexec_fn=restore_interrupts,  # noqa: PLW1509  it takes no lock
    )  # fmt: skip


def line_of(process: subprocess.Popen[str]) -> str:
    """Wait for a line on standard error."""
    assert process.stderr is not None
    assert select.select([process.stderr], [], [], 60)[0], "nothing was said"
    return process.stderr.readline()


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Person]:
    """Somebody whose environment names nothing."""
    return Person(tmp_path)


def test_the_place_is_what_is_given_then_the_environment_then_the_default_profile_then_the_default_home(
    served: Served, nobody: Person, finished: str
) -> None:
    def place(*options: object, **environment: str) -> str:
        person = Person(nobody.folder, environment)
        done = person.run("show", finished, *options, code=person_code)
        return (done.stdout + done.stderr).splitlines()[0]

    token, found, away = served.token(), f"job {finished} finished: completed", "http://127.0.0.1:1"
    person_code = 2
    assert "no job has run in" in place()
    assert "this command asks a server" in nobody.refused("watch", finished)
    assert "one place is looked at" in place("--home", served.home, "--url", served.url)
    person_code = 0
    assert place(TUNELADDER_HOME=str(served.home)).startswith(found)
    assert place("--home", served.home, TUNELADDER_URL=away).startswith(found)
    assert place(TUNELADDER_URL=served.url, TUNELADDER_TOKEN=token, TUNELADDER_HOME="nowhere").startswith(found)
    nobody.run("profile", "set", "lab", "--url", served.url, "--token", "-", typed=f"{token}\n")
    nobody.run("profile", "set", "away", "--url", away)
    assert place().startswith(found)
    assert place("--profile", "lab", TUNELADDER_URL=away).startswith(found)
    person_code = 1
    assert f"must listen at {away}" in place("--profile", "away")
    assert f"must listen at {away}" in place(TUNELADDER_PROFILE="away")
    assert f"must listen at {away}" in place("--url", away, TUNELADDER_PROFILE="lab")
    person_code = 2
    assert "no job has run in" in place(TUNELADDER_HOME="nowhere")


def test_profiles_are_kept_for_their_owner_alone_and_shown_without_tokens(nobody: Person) -> None:
    secret = "tl_" + "p" * 43
    said = nobody.run("profile", "set", "lab", "--url", "http://lab.example:8400/", "--token", secret)
    assert said.stdout.startswith("profile lab (the default): http://lab.example:8400, with a token, in ")
    assert "http sends the token unencrypted" in said.stderr
    nobody.run("profile", "set", "other", "--url", "https://other.example")
    nobody.run("profile", "use", "other")
    path = nobody.folder / "profiles.toml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert nobody.ask("profile", "list") == [
        {"name": "lab", "url": "http://lab.example:8400", "has_token": True, "is_default": False},
        {"name": "other", "url": "https://other.example", "has_token": False, "is_default": True},
    ]
    nobody.run("profile", "set", "lab", "--url", "http://lab.example:8400")  # the token stays
    assert secret in path.read_text()
    nobody.run("profile", "set", "lab", "--url", "https://new.example")  # of another server it was not
    assert secret not in path.read_text()
    assert "no profile has the name 'la'" in nobody.refused("profile", "use", "la")
    path.chmod(0o640)
    nobody.run("profile", "set", "lab", "--url", "https://new.example", "--token", secret)
    path.chmod(0o640)
    assert "others can read it (mode 0640): chmod 600" in nobody.run("profile", "list").stderr


def test_an_operator_makes_the_first_token_in_the_home_before_there_is_a_server(nobody: Person) -> None:
    made = nobody.run("token", "create", "first", "--owner", "root", "--role", "admin", "--home", "home")
    assert re.fullmatch(r"tl_[A-Za-z0-9_-]{43}\n", made.stdout)
    assert "for root as admin, until it is revoked; keep it" in made.stderr
    (listed,) = nobody.ask("token", "list", "--home", "home")
    assert (listed["name"], listed["owner"], listed["role"], listed["revoked_at"]) == (
        "first",
        "root",
        "admin",
        None,
    )
    assert made.stdout.strip() not in json.dumps(listed)
    database = f"sqlite:///{nobody.folder / 'home' / 'tuneladder.db'}"
    assert nobody.ask("token", "list", "--database", database) == [listed]
    in_container = Person(nobody.folder, {"TUNELADDER_DATABASE_URL": database})
    in_container.run("token", "revoke", listed["id"], "--quiet")
    assert in_container.ask("token", "list")[0]["revoked_at"]
    assert "no token has the id 'zz'" in nobody.refused("token", "revoke", "zz", "--home", "home")
    assert "one place is looked at" in nobody.refused("token", "list", "--home", "home", "--database", database)


def test_an_admin_makes_a_token_through_the_server_and_it_works_until_it_is_revoked(
    served: Served, root: Person, ada: Person
) -> None:
    token = root.ask("token", "create", "laptop", "--owner", "dora", "--expires", "12h")
    assert (token["owner"], token["role"]) == ("dora", "submitter")
    dora = Person(root.folder, {"TUNELADDER_URL": served.url, "TUNELADDER_TOKEN": token["token"]})
    assert dora.ask("jobs") == []
    root.run("token", "revoke", token["id"])
    assert "token" in dora.refused("jobs")
    assert "revoked" in root.run("token", "list", "--owner", "dora").stdout
    assert "role" in ada.refused("token", "create", "more", "--role", "admin")


@pytest.mark.parametrize(
    ("expires", "said"),
    [("soon", "days, hours or a date"), ("2020-01-01", "ends in the future"), ("0d", "ends in the future")],
)
def test_an_end_that_is_none_is_refused(nobody: Person, expires: str, said: str) -> None:
    assert said in nobody.refused("token", "create", "x", "--home", "home", "--expires", expires)


@pytest.mark.parametrize("command", ["jobs", "show", "trials", "best", "export"])
def test_the_rule_for_the_place_stands_in_every_help(nobody: Person, command: str) -> None:
    text = " ".join(nobody.run(command, "--help").stdout.split())
    assert "TUNELADDER_URL, TUNELADDER_PROFILE or TUNELADDER_HOME names, in this order" in text
