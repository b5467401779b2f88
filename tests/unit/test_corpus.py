"""Histories that others recorded, with verdicts that others gave: ours have to be the same."""

from pathlib import Path

import pytest

from kvjepsen.checker import check
from kvjepsen.formats import read_history
from kvjepsen.records import History
from tests.support.commands import kv

CORPUS = Path(__file__).parents[2] / "jepsen-like" / "corpus"
VERDICTS = dict(line.split("\t") for line in (CORPUS / "verdicts.tsv").read_text(encoding="utf-8").splitlines())
WORDS = {"valid": "linearizable", "invalid": "not-linearizable"}


def load(name: str) -> tuple[History, str]:
    form, model = ("jepsen", "register") if name.startswith("jepsen-etcd") else ("porcupine-kv", "kv")
    return read_history(CORPUS / name, form), model


def test_every_file_has_a_verdict() -> None:
    files = {path.relative_to(CORPUS).as_posix() for path in CORPUS.glob("*/*")}
    assert files == set(VERDICTS)
    assert len(files) == 56
    assert list(VERDICTS.values()).count("linearizable") == 13


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict(name: str) -> None:
    history, model = load(name)
    assert WORDS[check(history, model).verdict] == VERDICTS[name]


@pytest.mark.parametrize("name", [name for name in VERDICTS if name.startswith("jepsen-etcd")])
def test_the_verdict_does_not_hang_on_what_failed_comparisons_saw(name: str) -> None:
    """Others take a failed cas as not having happened; these verdicts are the same both ways."""
    history, model = load(name)
    for op in history.operations:
        op.error = None
    assert WORDS[check(history, model).verdict] == VERDICTS[name]


@pytest.mark.parametrize("name", VERDICTS)
def test_a_window_fails_by_itself(name: str) -> None:
    """Alone, with all other writes of unknown outcome, it is not linearizable either."""
    history, model = load(name)
    found = check(history, model).witness
    if found is None:
        assert VERDICTS[name] == "linearizable"
        return
    alone = history.select(lambda op: op.key == found.key and (op.i in found.ops or op.f != "read"))
    for op in alone.operations:
        if op.i not in found.ops and op.outcome != "fail":
            op.outcome, op.ended = "info", 1 << 62
        elif op.i not in found.ops:
            op.error = None
    result = check(alone, model)
    assert WORDS[result.verdict] == "not-linearizable"
    assert result.witness is not None
    assert len(result.witness.ops) <= len(found.ops)


@pytest.mark.parametrize("name", ["jepsen-etcd/etcd_002.log", "jepsen-etcd/etcd_006.log", "kv/c10-bad.txt"])
def test_the_command_says_the_same(name: str) -> None:
    form = "jepsen" if name.startswith("jepsen-etcd") else "porcupine-kv"
    done = kv("chaos", "check", str(CORPUS / name), "--format", form)
    assert done.stdout == f"{VERDICTS[name]}\n"
    assert done.returncode == (0 if VERDICTS[name] == "linearizable" else 1)
