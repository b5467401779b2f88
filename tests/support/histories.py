"""Histories written by hand: `op("write", 1, at=(0, 3))` is an operation from moment 0 to moment 3."""

from typing import Any

from kvjepsen.records import NEVER, History, Observation, Operation


def op(
    f: str,
    value: Any = None,
    at: tuple[int, int | None] = (0, 1),
    *,
    key: str = "x",
    process: int | str | None = None,
    fail: str | None = None,
    **fields: Any,
) -> Operation:
    """`value` is what a read showed, or what the others asked for. `at=(i, None)`: its outcome is unknown. A moment is
    an `i`, and as many milliseconds.
    """
    began, ended = at
    outcome = "info" if ended is None else "fail" if fail is not None else "ok"
    made = Operation(began, began * 1_000_000, began if process is None else process, f, key)
    made.value, made.shown = (None, value) if f == "read" else (value, value)
    made.outcome, made.error = outcome, fail
    if ended is not None:
        made.answered = made.ended = ended
        made.answered_ns = made.ended_ns = ended * 1_000_000
    for name, given in fields.items():
        assert hasattr(made, name)
        setattr(made, name, given)
    return made


def history(*operations: Operation, observations: list[Observation] | None = None) -> History:
    """In the order of their invocation."""
    moments = [moment for made in operations for moment in (made.i, made.ended) if moment != NEVER]
    assert len(set(moments)) == len(moments), "every moment belongs to one event"
    return History(sorted(operations, key=lambda made: made.i), [], observations or [])
