"""What clients asked and were answered in one simulated run, and whether the log that was committed explains it.

The log gives every write its place, so no search is needed: it is applied once more, to a fresh state machine, and
every answer is held against it.

- An acknowledged write is in the log at the revision that it was told, and nowhere else.
- A write that was refused is not in the log; one with an unknown outcome is there at most once.
- Revisions agree with real time: a write has a higher one than anything acknowledged or read before it began.
- A QUORUM read shows a state at least as new as anything acknowledged or read before it began (linearizable).
- A ONE read shows a state that the store really had, on one node never an older one than before, and none older than
  what had been acknowledged at level ALL before it began.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from kvstore.model import commands
from kvstore.model.commands import OP_PUT
from kvstore.model.results import APPLIED, Record
from kvstore.state.machine import Machine

_REGULAR: Final = b"\x00"


class Broken(AssertionError):
    """A promise to clients was not kept."""


class Answered:
    """One finished request. `floor` and `floor_all`: the highest revision known, or acknowledged at level ALL, when it
    began. `shown` is what a read showed: key -> record or None.
    """

    __slots__ = (
        "at_s",
        "began_s",
        "floor",
        "floor_all",
        "key",
        "kind",
        "level",
        "node",
        "outcome",
        "revision",
        "shown",
        "value",
    )

    def __init__(
        self, kind: str, key: bytes, value: bytes, node: str, level: str, began_s: float, floor: int, floor_all: int
    ) -> None:
        self.kind, self.key, self.value, self.node, self.level = kind, key, value, node, level
        self.began_s, self.floor, self.floor_all = began_s, floor, floor_all
        self.at_s = began_s
        self.outcome = "unknown"  # ok, not_applied, unknown
        self.revision = 0
        self.shown: dict[bytes, Record | None] = {}

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.key.decode()} at {self.node}, level {self.level}, from {self.began_s:.6f} s to "
            f"{self.at_s:.6f} s: {self.outcome}, revision {self.revision}, floor {self.floor}"
        )


class History:
    """The answers of a run. `floor` rises with everything that a client has learned."""

    def __init__(self) -> None:
        self.answers: list[Answered] = []
        self.floor = 0
        self.floor_all = 0
        self._shown_by: dict[tuple[str, int], int] = {}

    def begin(self, kind: str, key: bytes, value: bytes, node: str, level: str, now_s: float) -> Answered:
        """A request goes out."""
        answered = Answered(kind, key, value, node, level, now_s, self.floor, self.floor_all)
        self.answers.append(answered)
        return answered

    def written(self, answered: Answered, revision: int, now_s: float) -> None:
        """A write was acknowledged. Raises Broken."""
        answered.outcome, answered.revision, answered.at_s = "ok", revision, now_s
        if revision <= answered.floor:
            raise Broken(f"a write took a revision that was known before it began: {answered}")
        self.floor = max(self.floor, revision)
        if answered.level == "all":
            self.floor_all = max(self.floor_all, revision)

    def read(
        self, answered: Answered, shown: dict[bytes, Record | None], revision: int, start: int, now_s: float
    ) -> None:
        """A read was answered, by the node's process number `start`. Raises Broken."""
        answered.outcome, answered.revision, answered.at_s, answered.shown = "ok", revision, now_s, shown
        if answered.level == "quorum":
            if revision < answered.floor:
                raise Broken(f"a stale read: {answered}")
            self.floor = max(self.floor, revision)
        elif revision < answered.floor_all:
            raise Broken(f"a read at one node that hides a write acknowledged at level all: {answered}")
        before = self._shown_by.get((answered.node, start), 0)
        if answered.level == "one" and revision < before:
            raise Broken(f"this node had shown revision {before} before: {answered}")
        self._shown_by[answered.node, start] = max(before, revision)

    def refused(self, answered: Answered, outcome: str, now_s: float) -> None:
        """An error: not_applied or unknown."""
        answered.outcome, answered.at_s = outcome, now_s

    def check(self, committed: Sequence[tuple[bytes, int, int]]) -> Machine:
        """Hold every answer against the log. Returns the state at its end. Raises Broken."""
        reads: dict[int, list[Answered]] = {}
        for answered in self.answers:
            if answered.kind in ("get", "range") and answered.outcome == "ok":
                reads.setdefault(answered.revision, []).append(answered)
        machine = Machine()
        written: dict[int, tuple[bytes, bytes | None]] = {}
        _compare(machine, reads.pop(0, []))
        for command, index, term in committed:
            if command[:1] != _REGULAR:
                machine.skip(index, term)
                continue
            decoded = commands.decode(command[1:])
            for op, result in zip(decoded.ops, machine.apply(index, term, decoded), strict=True):
                if result.status == APPLIED:
                    written[result.revision] = (op[1], op[2] if op[0] == OP_PUT else None)
            if machine.revision in reads:
                _compare(machine, reads.pop(machine.revision))
        for unexplained in reads.values():
            raise Broken(f"a read of a state that the store never had: {unexplained[0]}")
        self._check_writes(written)
        return machine

    def _check_writes(self, written: dict[int, tuple[bytes, bytes | None]]) -> None:
        times: Counter[bytes] = Counter(value for _, value in written.values() if value is not None)
        for answered in self.answers:
            if answered.kind not in ("put", "delete"):
                continue
            value = answered.value if answered.kind == "put" else None
            if answered.outcome == "ok" and written.get(answered.revision) != (answered.key, value):
                raise Broken(f"an acknowledged write was lost: {answered}")
            if value is not None:
                if answered.outcome == "not_applied" and times[value]:
                    raise Broken(f"a write that was refused took effect: {answered}")
                if times[value] > 1:
                    raise Broken(f"a write took effect {times[value]} times: {answered}")

    def counts(self) -> dict[str, int]:
        """How many answers of each kind there were."""
        counts: Counter[str] = Counter()
        for answered in self.answers:
            counts["reads" if answered.kind in ("get", "range") else "writes"] += 1
            counts[answered.outcome] += 1
            if answered.outcome == "ok" and answered.kind in ("put", "delete"):
                counts["acknowledged"] += 1
        return dict(counts)


def _compare(machine: Machine, reads: list[Answered]) -> None:
    for answered in reads:
        for key, record in answered.shown.items():
            expected: Any = machine.get(key)
            if record != expected:
                raise Broken(f"a read showed {record}, the log says {expected}: {answered}")
