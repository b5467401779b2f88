"""`kv chaos check`: verdict, exit code, JSON and the window for people."""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcli import windows
from kvjepsen.checker import Linearizability, check
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import Recorder
from tests.support.commands import kv
from tests.support.histories import history, op
from tests.unit.test_cli_output import golden

ROOT = Path(__file__).parents[2]


class Clock:
    """A thousandth of a second later each time."""

    def __init__(self) -> None:
        self.now = 5_000_000_000

    def __call__(self) -> int:
        self.now += 1_000_000
        return self.now


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Two keys: one stale read among other operations, and a key that fails too."""
    path = tmp_path / "bad.jsonl"
    with path.open("wb") as sink:
        recorder = Recorder(sink, Clock())

        def done(
            process: int, f: str, value: Any = None, *, key: str = "accounts/7", shown: Any = None, **told: Any
        ) -> None:
            line = recorder.invoke(process, f, key=key, value=value, client=f"c{process}", node=f"n{process % 3 + 1}")
            recorder.ok(line, **({"value": shown} if f == "read" else {}), **told)

        done(0, "write", "old", revision=3, version=1)
        long = recorder.invoke(3, "write", key="accounts/7", value="lost\n", client="c3", node="n1", level="all")
        done(1, "cas", ["old", "new"], revision=4, version=2)
        recorder.fault("partition", [["n1"], ["n2", "n3"]])
        done(2, "read", shown="new", revision=4, version=2)
        refused = recorder.invoke(4, "write", key="accounts/7", value="x", client="c4", node="n2", revision=3)
        recorder.fail(refused, "precondition_failed")
        recorder.info(long, "timeout")
        done(5, "read", shown="old", revision=3, version=1)
        done(5, "read", shown="never written", key="b", revision=9)
        done(5, "write", 1, key="c", revision=10)
    return path


def test_a_window_for_people(bad: Path) -> None:
    done = kv("chaos", "check", str(bad))
    assert (done.returncode, done.stdout) == (1, "not-linearizable\n")
    golden("chaos_check", done.stderr)


def test_a_table(bad: Path) -> None:
    done = kv("chaos", "check", str(bad), "-o", "table")
    assert done.returncode == 1
    golden("chaos_check_table", done.stdout)


def test_a_document(bad: Path) -> None:
    done = kv("chaos", "check", str(bad), "-o", "json", "--model", "register")
    assert (done.returncode, done.stderr) == (1, "")
    golden("chaos_check_json", done.stdout)


def test_a_word_and_nothing_else(bad: Path) -> None:
    done = kv("chaos", "check", str(bad), "-o", "raw")
    assert (done.returncode, done.stdout, done.stderr) == (1, "not-linearizable\n", "")


def test_a_good_history(tmp_path: Path) -> None:
    path = tmp_path / "good.jsonl"
    with path.open("wb") as sink:
        recorder = Recorder(sink)
        recorder.ok(recorder.invoke(1, "write", key="a", value=1), revision=1)
    done = kv("chaos", "check", str(path))
    assert (done.returncode, done.stdout, done.stderr) == (0, "linearizable\n", "")
    document = json.loads(kv("chaos", "check", str(path), "-o", "json").stdout)
    assert document == {"verdict": "linearizable", "model": "kv", "keys": 1, "ops": 1, "witness": None}


def test_a_key_that_takes_too_long(tmp_path: Path) -> None:
    path = tmp_path / "hard.jsonl"
    with path.open("wb") as sink:
        recorder = Recorder(sink)
        writes = [recorder.invoke(value, "write", key="hard", value=value) for value in range(30)]
        reads = [recorder.invoke(100 + value, "read", key="hard") for value in range(30)]
        for value in range(30):
            recorder.ok(reads[value], value=(7 * value) % 30)
        for write in writes:
            recorder.ok(write)
        last = [recorder.invoke(200 + value, "read", key="hard") for value in range(2)]
        for value in range(2):
            recorder.ok(last[value], value=value)
    done = kv("chaos", "check", str(path), "--seconds-per-key", "0.2")
    assert (done.returncode, done.stdout) == (5, "unknown\n")
    assert done.stderr == "kv: key hard: not decided within 0.2 s\n"
    assert json.loads(kv("chaos", "check", str(path), "--seconds-per-key", "0.2", "-o", "json").stdout) == {
        "verdict": "unknown",
        "model": "kv",
        "keys": 1,
        "ops": 62,
        "witness": None,
    }


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nowhere.jsonl"], 7, "nowhere.jsonl: No such file or directory"),
        ([str(ROOT / "Makefile")], 7, "Makefile:1: JSON is malformed"),
        (
            [str(ROOT / "jepsen-like/corpus/kv/c01-ok.txt"), "--format", "jepsen"],
            7,
            "c01-ok.txt:1: not a line of Jepsen's",
        ),
        (
            [str(ROOT / "jepsen-like/corpus/kv/c01-ok.txt"), "--format", "porcupine-kv", "--model", "register"],
            7,
            "operation 1 is 'append': model register does not know it",
        ),
        ([str(ROOT / "pyproject.toml"), "--format", "yaml"], 2, "'yaml' is not one of"),
        ([str(ROOT / "pyproject.toml"), "--seconds-per-key", "0"], 2, "'0.0' is not a number"),
        ([], 2, "Missing argument 'HISTORY'"),
    ],
)
def test_what_cannot_be_checked(arguments: list[str], code: int, says: str) -> None:
    done = kv("chaos", "check", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


class TestWindow:
    def test_many_keys_are_counted(self) -> None:
        made = history(*(op("read", 1, (2 * n, 2 * n + 1), key=f"k{n}") for n in range(30)))
        window = windows.explain(made, check(made))
        assert window.problem == "key k0: no order explains this operation of 1, whatever became of the others"
        assert window.notes == ["29 more keys fail of 30: k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, ..."]
        undecided = tuple((f"k{n}", "too much") for n in range(12))
        result = Linearizability(Verdict.UNKNOWN, "kv", 30, 30, undecided=undecided)
        notes = windows.explain(made, result).notes
        assert (len(notes), notes[0], notes[-1]) == (11, "key k0: too much", "12 of 30 keys are undecided")

    def test_nothing_unprintable_leaves(self) -> None:
        key = b"\xff\n".decode("utf-8", "surrogateescape")
        made = history(op("read", "\x1b[31m" + "x" * 100, (0, 1), key=key))
        result = check(made)
        window = windows.explain(made, result)
        shown = "".join([window.problem or "", *window.rows[0]])
        assert shown.isprintable()
        assert "x" * 50 not in shown
        assert windows.to_json(result)["witness"] == {"key_base64": "/wo=", "ops": [0]}

    def test_formats_without_times_name_lines(self) -> None:
        read = op("read", 1, (4, 5))
        read.t_ns = None
        window = windows.explain(history(read), check(history(read)))
        assert list(window.columns[3:5]) == ["from line", "to line"]
        assert window.rows[0][3:5] == ["4", "5"]
