"""What `kv chaos check` says about a history: the verdict's word, its JSON, and the failing window for people.

The window names the few operations that no order explains: who asked, where, when, what, and what was answered, with
a bar for each that shows how they overlap.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.output import printable
from kvjepsen.checker import Linearizability
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import NEVER, History, Operation
from kvjepsen.wording import answered, asked

WORDS: Final = {
    Verdict.VALID: ("linearizable", Exit.OK),
    Verdict.INVALID: ("not-linearizable", Exit.ABSENT),
    Verdict.UNKNOWN: ("unknown", Exit.UNKNOWN),
}

_BAR_CHARS_MAX: Final = 48
_VALUE_CHARS: Final = 40
_KEYS_TOLD_MAX: Final = 10


@dataclass(frozen=True, slots=True)
class Window:
    """What is wrong, the operations that show it (no rows if there are none), and what else is to be said."""

    problem: str | None
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]

    def tell(self, *, table: bool) -> None:
        """To standard error; `table=False` leaves the operations out."""
        if self.problem is not None:
            output.message(self.problem)
        if table and self.rows:
            lines = [self.columns, *self.rows]
            widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
            for line in lines:
                cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
                output.continued("  ".join(cells).rstrip())
        for note in self.notes:
            output.message(note)


def to_json(result: Linearizability) -> dict[str, Any]:
    """The shape of DESIGN 3.1."""
    witness = None
    if result.witness is not None:
        witness = {**_key_field(result.witness.key), "ops": list(result.witness.ops)}
    word, _ = WORDS[result.verdict]
    return {"verdict": word, "model": result.model, "keys": result.keys, "ops": result.ops, "witness": witness}


def explain(history: History, result: Linearizability) -> Window:
    """What was found, for people."""
    problem, notes = None, []
    rows: list[list[str]] = []
    timed = all(op.t_ns is not None for op in history.operations)
    if result.witness is not None:
        key = result.witness.key
        ops = [op for op in history.operations if op.i in result.witness.ops]
        count = sum(op.key == key for op in history.operations)
        these = "this operation" if len(ops) == 1 else f"these {len(ops)} operations"
        problem = f"{_named(key)}: no order explains {these} of {count:,}, whatever became of the others"
        rows = _rows(history, ops, timed)
    others = [key for key in result.failed if result.witness is None or key != result.witness.key]
    if others:
        fail = "key fails" if len(others) == 1 else "keys fail"
        notes.append(f"{len(others):,} more {fail} of {result.keys:,}: {_listed(others)}")
    for key, reason in result.undecided[:_KEYS_TOLD_MAX]:
        notes.append(f"{_named(key)}: {reason}")
    if len(result.undecided) > _KEYS_TOLD_MAX:
        notes.append(f"{len(result.undecided):,} of {result.keys:,} keys are undecided")
    when = ("from s", "to s") if timed else ("from line", "to line")
    return Window(problem, ["op", "client", "node", *when, "asked", "answered", ""], rows, notes)


def _rows(history: History, ops: Sequence[Operation], timed: bool) -> list[list[str]]:
    first = history.operations[0]
    moments = sorted({moment for op in ops for moment in (op.i, op.ended) if moment != NEVER})
    rows = []
    for op in ops:
        begins = _seconds(op.t_ns, first.t_ns) if timed else str(op.i)
        ends = "never" if op.ended == NEVER else _seconds(op.ended_ns, first.t_ns) if timed else str(op.ended)
        rows.append(
            [
                str(op.i),
                op.client or f"process {op.process}",
                op.node or "-",
                begins,
                ends,
                asked(op, _value),
                answered(op, _value),
                _bar(op, moments),
            ]
        )
    return rows


def _seconds(t_ns: int | None, start_ns: int | None) -> str:
    return f"{((t_ns or 0) - (start_ns or 0)) / 1e9:.6f}"


def _bar(op: Operation, moments: Sequence[int]) -> str:
    """Which other operations it overlaps: its place among the moments at which one of them began or ended."""
    step = min(3.0, _BAR_CHARS_MAX / len(moments))
    left = round(moments.index(op.i) * step)
    right = round(len(moments) * step) if op.ended == NEVER else max(left + 1, round(moments.index(op.ended) * step))
    return " " * left + "[" + "=" * (right - left - 1) + (">" if op.ended == NEVER else "]")


def _value(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else repr(value)
    return printable(text.encode("utf-8", "surrogateescape"), _VALUE_CHARS)


def _key_field(key: str | None) -> dict[str, Any]:
    raw = (key or "").encode("utf-8", "surrogateescape")
    try:
        raw.decode()
    except UnicodeDecodeError:
        return {"key_base64": base64.b64encode(raw).decode()}
    return {"key": key}


def _named(key: str | None) -> str:
    return "the register" if key is None else f"key {_value(key)}"


def _listed(keys: Sequence[str | None]) -> str:
    names = ", ".join(_value(key) for key in keys[:_KEYS_TOLD_MAX])
    return names + (", ..." if len(keys) > _KEYS_TOLD_MAX else "")
