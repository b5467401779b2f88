"""Operations in words: what was asked and what was answered, as tables and reports tell it to people."""

from collections.abc import Callable
from typing import Any

from kvjepsen.records import Operation


def asked(op: Operation, value: Callable[[Any], str]) -> str:
    """What the client wanted. `value` puts a value into words."""
    if op.f == "cas":
        what = f"cas {value(op.value[0])} to {value(op.value[1])}"
    else:
        what = op.f if op.value is None else f"{op.f} {value(op.value)}"
    condition = "" if op.asked_revision is None else f" if at revision {op.asked_revision}"
    return what + condition


def answered(op: Operation, value: Callable[[Any], str]) -> str:
    """What the client was told."""
    at = "" if op.revision is None else f" at revision {op.revision}"
    if op.outcome == "ok":
        return (value(op.shown) if op.f == "read" else "ok") + at
    if op.outcome == "fail":
        return f"failed: {op.error}" if op.error else "failed"
    return f"unknown: {op.error}" if op.error else "unknown"
