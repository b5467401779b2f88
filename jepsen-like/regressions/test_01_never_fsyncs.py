"""Fact 1: the engine never fsyncs, and up to 0.3.15 it forgot term and vote.

Engine: `journal.FileJournal.add` writes into a memory map, `journal.MetaStorer.storeMeta` flushes to the page cache;
nothing calls fsync. 0.3.14 has no place for term and vote at all.
Here: the step contract of `consensus.member` (5: sync the journal; 6: send what promises anything); `Journal.sync`.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from kvstore.consensus import messages as wire
from kvstore.consensus.journal import Journal
from regressions.published import published
from regressions.schedules import followers, restart
from tests.support.crash_disk import LOST, CrashFile
from tests.support.lab import Lab


def test_the_published_engine_acknowledges_what_nobody_synced(tmp_path: Path) -> None:
    found = published("never_fsyncs", tmp_path)
    assert found["acknowledged"]
    assert found["on_every_node"]
    assert found["synced_by_then"] == []
    assert found["synced_at_an_orderly_end"] != [], "the counting does not work: the test shows nothing"


def test_here_nothing_is_acknowledged_before_it_is_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    syncs: list[CrashFile] = []
    sync = CrashFile.sync

    def counted(file: CrashFile) -> None:
        syncs.append(file)
        sync(file)

    lab = Lab("a", "b", "c")
    leader = lab.elect()
    follower = followers(lab, leader)[0]
    monkeypatch.setattr(CrashFile, "sync", counted)
    outcome = leader.propose(b"x")
    assert len(syncs) == 1
    lab.deliver((leader.name, follower.name))
    assert len(syncs) == 2
    assert outcome == []
    lab.deliver((follower.name, leader.name))
    assert outcome == [b"x"]
    after = {name: Journal.open(node.disk.after_crash(LOST), "/journal") for name, node in lab.nodes.items()}
    holders = [name for name, journal in after.items() if b"\0x" in [command for command, _, _ in journal.entries]]
    assert sorted(holders) == sorted([leader.name, follower.name])


def asked_twice(lab: Lab) -> list[int]:
    """Votes of a for b, and after a loss of power for c, in one term; and its term in between."""
    votes = []
    for candidate in ("b", "c"):
        request = wire.VoteRequest(term=5, last_index=1, last_term=0, pre=False, transfer=False)
        lab.nodes["a"].member.peer_message(candidate, request)
        lab.nodes["a"].run()
        answers = [each for each in lab.wires["a", candidate] if isinstance(each, wire.VoteReply)]
        votes.append(sum(answer.granted for answer in answers))
        lab.nodes["a"].disk = lab.nodes["a"].disk.after_crash(LOST)
        assert restart(lab, "a").member.term == 5
    return votes


def test_here_a_vote_outlives_a_loss_of_power() -> None:
    assert asked_twice(Lab("a", "b", "c")) == [1, 0]


def test_the_published_engine_outlives_a_kill_by_now(tmp_path: Path) -> None:
    found = published("forgets_vote", tmp_path)
    assert found == {"version": "0.3.17", "first_vote": 1, "term_after_restart": 5, "second_vote_in_the_same_term": 0}


@pytest.mark.long
@pytest.mark.parametrize("version", ["0.3.14", "0.3.15"])
def test_the_published_engine_before_that_votes_twice_in_a_term(tmp_path: Path, version: str) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries=1", "--timeout=15"]
    installed = subprocess.run(
        [*pip, f"pysyncobj=={version}"], capture_output=True, text=True, timeout=300, check=False
    )
    if installed.returncode:
        pytest.skip(f"pysyncobj {version} cannot be had from the registry: {installed.stderr.strip()[-300:]}")
    (tmp_path / "data").mkdir()
    found = published("forgets_vote", tmp_path / "data", python=python)
    assert found == {"version": version, "first_vote": 1, "term_after_restart": 0, "second_vote_in_the_same_term": 1}
