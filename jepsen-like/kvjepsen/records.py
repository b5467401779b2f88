"""Histories: what clients asked and were answered, in the order in which it happened (docs/history-format.md).

A history is written as lines, one event each, and read as operations: an invocation and what became of it, paired by
process. No file is opened here; `formats.py` does that.

    ok      it took effect between `i` and `ended`
    fail    it did not take effect; some errors tell what was seen instead (`UNMET`, `ABSENT`)
    info    nobody knows: it may take effect at any time after `i`, or never. Its `ended` is NEVER

An `info` may be followed by one more line of its process, `ok` or `fail`: what became of it, learned later (a receipt).
`answered` is then the first of the two lines, `ended` the second.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Literal, NamedTuple

import msgspec

from kvstore import limits

Event = Literal["invoke", "ok", "fail", "info"]
Outcome = Literal["ok", "fail", "info"]

NEMESIS: Final = "nemesis"
OBSERVER: Final = "observer"
FINAL: Final = "final"

# Later than every line: where an operation ends whose outcome is unknown.
NEVER: Final = 1 << 62

# Errors of a `fail` that are observations: the condition did not hold, the key was absent, the lease had ended.
UNMET: Final = "precondition_failed"
ABSENT: Final = "key_not_found"
GONE: Final = "lease_gone"


class Line(msgspec.Struct):
    """One event, the fields of DESIGN 3.1. On an `invoke`, `revision` is a condition: see docs/history-format.md."""

    i: int
    t_ns: int
    process: int | str
    type: Event
    f: str
    client: str | None = None
    node: str | None = None
    key: str | None = None
    key_base64: bytes | None = None
    value: Any = None
    version: int | None = None
    revision: int | None = None
    level: str | None = None
    error: str | None = None
    max_staleness_ms: int | None = None


@dataclass(slots=True, eq=False)
class Operation:
    """An invocation and what became of it. Times are nanoseconds of one monotonic clock, None in formats without them.

    `i`, `answered` and `ended` are the `i` of lines, so they order events. `value` is what was asked (a cas:
    [old, new]), `shown` what the answer showed. `asked_revision` is the condition (writes) or min_revision (reads).
    """

    i: int
    t_ns: int | None
    process: int | str
    f: str
    key: str | None = None
    value: Any = None
    client: str | None = None
    node: str | None = None
    level: str | None = None
    asked_revision: int | None = None
    max_staleness_ms: int | None = None
    outcome: Outcome = "info"
    shown: Any = None
    revision: int | None = None
    version: int | None = None
    error: str | None = None
    answered: int = NEVER
    answered_ns: int | None = None
    ended: int = NEVER
    ended_ns: int | None = None

    @property
    def session(self) -> int | str:
        """Who asked: the client, which outlives its processes, or the process if no client is named."""
        return self.process if self.client is None else self.client

    @property
    def linearizable(self) -> bool:
        """Whether its level promises linearizability. A ONE write counts: it is unknown until its receipt is read."""
        return self.f != "read" or self.level != "one"

    @property
    def took_effect(self) -> bool:
        """Certainly: acknowledged, or its revision is known although nobody knows when it was given."""
        return self.outcome == "ok" or (self.outcome == "info" and self.revision is not None and self.f != "read")


class Fault(NamedTuple):
    """What the nemesis did."""

    i: int
    t_ns: int | None
    f: str
    node: str | None
    value: Any


class Observation(NamedTuple):
    """What one node said about itself; `view` has some of term, role, commit_index, digest {"index", "value"}."""

    i: int
    t_ns: int | None
    node: str
    view: dict[str, Any]


@dataclass(slots=True)
class History:
    """Operations in the order of their invocation, faults, and observations of nodes."""

    operations: list[Operation] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)

    def by_key(self) -> dict[str | None, list[Operation]]:
        """The operations of each key, keys in the order in which they appear."""
        keys: dict[str | None, list[Operation]] = {}
        for operation in self.operations:
            keys.setdefault(operation.key, []).append(operation)
        return keys

    def select(self, keep: Callable[[Operation], bool]) -> "History":
        """The same history with some of its operations only: of one workload, say."""
        return History([op for op in self.operations if keep(op)], self.faults, self.observations)

    def final_reads(self) -> list[Operation]:
        """The reads made after everything was healed: those of client `final` that were answered."""
        return [op for op in self.operations if op.client == FINAL and op.f == "read" and op.outcome == "ok"]


class Pairing:
    """Lines in, operations out. `add` raises ValueError for a line that cannot follow those before it."""

    def __init__(self) -> None:
        self.history = History()
        self._open: dict[int | str, Operation] = {}
        self._last_i = -1
        self._last_ns = 0

    def add(self, line: Line, *, timed: bool = True) -> None:
        """Take the next line. `timed=False`: its t_ns means nothing."""
        if line.i <= self._last_i:
            raise ValueError(f"i is {line.i} after {self._last_i}: it has to rise")
        if timed and line.t_ns < self._last_ns:
            raise ValueError(f"t_ns is {line.t_ns} after {self._last_ns}: time went back")
        self._last_i, self._last_ns = line.i, line.t_ns
        t_ns = line.t_ns if timed else None
        if line.process == NEMESIS:
            self.history.faults.append(Fault(line.i, t_ns, line.f, line.node, line.value))
        elif line.process == OBSERVER:
            self._observe(line, t_ns)
        elif line.type == "invoke":
            self._invoke(line, t_ns)
        else:
            self._complete(line, t_ns)

    def _observe(self, line: Line, t_ns: int | None) -> None:
        if line.node is None or not isinstance(line.value, dict):
            raise ValueError("an observation needs the node and an object as its value")
        self.history.observations.append(Observation(line.i, t_ns, line.node, line.value))

    def _invoke(self, line: Line, t_ns: int | None) -> None:
        before = self._open.get(line.process)
        if before is not None and before.answered == NEVER:
            raise ValueError(f"process {line.process!r} invokes again before {before.f} (i {before.i}) was answered")
        if line.f == "cas" and not (isinstance(line.value, list) and len(line.value) == 2):
            raise ValueError("the value of a cas is [old, new]")
        operation = Operation(
            line.i,
            t_ns,
            line.process,
            line.f,
            key_of(line),
            line.value,
            line.client,
            line.node,
            line.level,
            line.revision,
            line.max_staleness_ms,
        )
        self._open[line.process] = operation
        self.history.operations.append(operation)

    def _complete(self, line: Line, t_ns: int | None) -> None:
        operation = self._open.get(line.process)
        if operation is None:
            raise ValueError(f"process {line.process!r} has no operation that {line.type!r} could end")
        event = line.type
        if event == "ok" and line.revision is None and "one" in (line.level, operation.level) and line.f != "read":
            event = "info"  # accepted, not yet in effect: its receipt will tell
        if operation.answered != NEVER and event == "info":
            raise ValueError(f"{operation.f} (i {operation.i}) is of unknown outcome already")
        if line.f != operation.f or key_of(line) not in (None, operation.key):
            raise ValueError(f"it ends {line.f}, but process {line.process!r} invoked {operation.f} (i {operation.i})")
        if operation.answered == NEVER:
            operation.answered, operation.answered_ns = line.i, t_ns
        operation.outcome = "info" if event == "info" else "ok" if event == "ok" else "fail"
        operation.shown, operation.error = line.value, line.error
        operation.revision, operation.version = line.revision, line.version
        operation.node = line.node or operation.node
        operation.client = line.client or operation.client
        operation.level = line.level or operation.level
        if event != "info":
            operation.ended, operation.ended_ns = line.i, t_ns
            del self._open[line.process]


class Recorder:
    """Writes a history while it happens: gives each line its `i` and its time. One writer, so the order is real.

    `invoke` before the request leaves, `ok`, `fail` or `info` after its answer came; then lines order as events did.
    """

    def __init__(self, sink: BinaryIO, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._sink = sink
        self._clock_ns = clock_ns
        self._next_i = 0

    def invoke(self, process: int | str, f: str, *, key: str | None = None, value: Any = None, **more: Any) -> Line:
        """An operation begins. `more`: other fields of Line. The result goes to what ends the operation."""
        return self._write("invoke", process, f, key=key, value=value, **more)

    def ok(self, invoked: Line, **shown: Any) -> Line:
        """It took effect. `shown`: value, revision, version, node."""
        return self._end("ok", invoked, **shown)

    def fail(self, invoked: Line, error: str, **shown: Any) -> Line:
        """It did not take effect."""
        return self._end("fail", invoked, error=error, **shown)

    def info(self, invoked: Line, error: str | None = None, **shown: Any) -> Line:
        """Nobody knows. The client goes on as a new process."""
        return self._end("info", invoked, error=error, **shown)

    def fault(self, f: str, value: Any = None, node: str | None = None) -> Line:
        """The nemesis did something."""
        return self._write("info", NEMESIS, f, value=value, node=node)

    def observe(self, node: str, view: dict[str, Any]) -> Line:
        """A node said something about itself."""
        return self._write("info", OBSERVER, "view", value=view, node=node)

    def _end(self, event: Event, invoked: Line, **shown: Any) -> Line:
        same = {"key": invoked.key, "client": invoked.client, "level": invoked.level}
        if invoked.f != "read":
            same["value"] = invoked.value
        return self._write(event, invoked.process, invoked.f, **{**same, "node": invoked.node, **shown})

    def _write(self, event: Event, process: int | str, f: str, **more: Any) -> Line:
        line = Line(self._next_i, self._clock_ns(), process, event, f, **more)
        self._sink.write(encode(line))
        self._next_i += 1
        return line


def encode(line: Line) -> bytes:
    """The line as it stands in a file: every field of DESIGN 3.1, null where there is nothing. Raises ValueError."""
    key = key_of(line)
    key_field: dict[str, Any] = {"key": key}
    if key is not None and not key.isascii():
        raw = key.encode("utf-8", "surrogateescape")
        try:
            raw.decode()
        except UnicodeDecodeError:
            key_field = {"key_base64": raw}
    fields: dict[str, Any] = {}
    for name in _WRITTEN:
        fields |= key_field if name == "key" else {name: getattr(line, name)}
    if line.max_staleness_ms is not None:
        fields["max_staleness_ms"] = line.max_staleness_ms
    data = msgspec.json.encode(fields) + b"\n"
    if len(data) > limits.HISTORY_LINE_BYTES_MAX:
        raise ValueError(f"a line of {len(data):,} bytes; at most {limits.HISTORY_LINE_BYTES_MAX:,} are allowed")
    return data


def key_of(line: Line) -> str | None:
    """The key as text; bytes that are not UTF-8 as surrogates."""
    if line.key_base64 is not None:
        return line.key_base64.decode("utf-8", "surrogateescape")
    return line.key


def comparable(value: Any) -> Any:
    """A JSON value as something that can be hashed, equal only for equal JSON (in Python, true equals 1)."""
    if value is None or type(value) is str or type(value) is int:
        return value
    return msgspec.json.encode(value, order="sorted")


_WRITTEN: Final = (
    "i",
    "t_ns",
    "process",
    "client",
    "node",
    "type",
    "f",
    "key",
    "value",
    "version",
    "revision",
    "level",
    "error",
)
