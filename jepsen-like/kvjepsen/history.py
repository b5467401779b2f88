"""What clients asked and were answered in one simulated run, and whether the log that was committed explains it.

The log gives every write its place, so no search is needed: it is applied once more, to a fresh state machine, and
every answer is held against it.

- An acknowledged write is in the log at the revision that it was told, and nowhere else.
- A write that was refused is not in the log; one with an unknown outcome is there at most once.
- Revisions agree with real time: a write has a higher one than anything acknowledged or read before it began.
- A QUORUM read shows a state at least as new as anything acknowledged or read before it began (linearizable).
- A ONE read shows a state that the store really had, on one node never an older one than before, and none older than
  what had been acknowledged at level ALL before it began; over that, what its node has pending (rules at `_Ones`).
- A read that bounds its staleness lacks nothing that was acknowledged longer before it.
- A write at level ONE that was acknowledged is applied once, or superseded by something that its node had not seen.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from kvjepsen.ones import Ones
from kvstore import limits
from kvstore.model import commands
from kvstore.model.commands import OP_DELETE, OP_PUT
from kvstore.model.results import APPLIED, Receipt, Record
from kvstore.state.machine import Machine

_REGULAR: Final = b"\x00"
# How much faster or slower a simulated clock may run.
CLOCK_RATE: Final = 1e-3


class Broken(AssertionError):
    """A promise to clients was not kept."""


class Answered:
    """One finished request. `floor` and `floor_all`: the highest revision known, or acknowledged at level ALL, when it
    began. `shown` is what a read showed: key -> record or None.

    `ones` is how many writes at level ONE had been acknowledged when it began, `all_began_s` when the last write at
    level ALL began that was acknowledged by then. `seen` is the revision that the node asked had applied, the lowest if
    several were asked; `receipt` is what it answered at level ONE; `sent` says which nodes got the request, and when.
    """

    __slots__ = (
        "all_began_s",
        "applied_index",
        "at_s",
        "began_s",
        "floor",
        "floor_all",
        "key",
        "kind",
        "level",
        "node",
        "ones",
        "outcome",
        "receipt",
        "revision",
        "seen",
        "sent",
        "shown",
        "start",
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
        self.ones = self.start = self.applied_index = 0
        self.seen = limits.REVISION_MAX
        self.all_began_s = float("-inf")
        self.receipt: str | None = None
        self.sent: list[tuple[str, float]] = []

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
        self.ones = Ones()
        self._all_began_s = float("-inf")
        self._floors: list[tuple[float, int]] = [(float("-inf"), 0)]
        self._shown_by: dict[tuple[str, int], int] = {}

    def begin(self, kind: str, key: bytes, value: bytes, node: str, level: str, now_s: float) -> Answered:
        """A request goes out."""
        answered = Answered(kind, key, value, node, level, now_s, self.floor, self.floor_all)
        answered.ones, answered.all_began_s = len(self.ones), self._all_began_s
        self.answers.append(answered)
        if level == "one" and kind in ("put", "delete"):
            self.ones.attempts.append(answered)
        return answered

    def written(self, answered: Answered, revision: int, now_s: float) -> None:
        """A write was acknowledged. Raises Broken."""
        answered.outcome, answered.revision, answered.at_s = "ok", revision, now_s
        if revision <= answered.floor:
            raise Broken(f"a write took a revision that was known before it began: {answered}")
        self._learn(revision, now_s)
        if answered.level == "all":
            self.floor_all = max(self.floor_all, revision)
            self._all_began_s = max(self._all_began_s, answered.began_s)

    def pending(self, answered: Answered, receipt: str, now_s: float) -> None:
        """A write at level ONE was acknowledged."""
        answered.outcome, answered.receipt, answered.at_s = "ok", receipt, now_s
        self.ones.acknowledged(answered)

    def _learn(self, revision: int, now_s: float) -> None:
        """Somebody knows now that the store had this revision."""
        if revision > self.floor:
            self.floor = revision
            self._floors.append((now_s, revision))

    def floor_at(self, at_s: float) -> int:
        """The highest revision that anybody knew at that time."""
        return self._floors[bisect_right(self._floors, (at_s, 1 << 62)) - 1][1]

    def read(
        self,
        answered: Answered,
        shown: dict[bytes, Record | None],
        revision: int,
        applied_index: int,
        start: int,
        now_s: float,
        staleness_s: float | None = None,
    ) -> None:
        """A read was answered, by the node's process number `start`. Raises Broken."""
        answered.outcome, answered.revision, answered.at_s, answered.shown = "ok", revision, now_s, shown
        answered.applied_index, answered.start = applied_index, start
        if staleness_s is not None and revision < self.floor_at(answered.began_s - staleness_s * (1 + CLOCK_RATE)):
            raise Broken(f"a read that is staler than {staleness_s} s: {answered}")
        if answered.level != "one":
            if revision < answered.floor:
                raise Broken(f"a stale read: {answered}")
            self._learn(revision, now_s)
        elif revision < answered.floor_all:
            raise Broken(f"a read at one node that hides a write acknowledged at level all: {answered}")
        before = self._shown_by.get((answered.node, start), 0)
        if answered.level == "one" and revision < before:
            raise Broken(f"this node had shown revision {before} before: {answered}")
        self._shown_by[answered.node, start] = max(before, revision)

    def refused(self, answered: Answered, outcome: str, now_s: float) -> None:
        """An error: not_applied or unknown."""
        answered.outcome, answered.at_s = outcome, now_s

    def told(self, answered: Answered, receipt: Receipt) -> None:
        """What a receipt says at the end, of a write at level ONE."""
        self.ones.told(answered, receipt)

    def check(self, committed: Sequence[tuple[bytes, int, int]], lost_disks: frozenset[str]) -> Machine:
        """Hold every answer against the log. Returns the state at its end. Raises Broken.

        Nodes of `lost_disks` have lost their disk: what they alone had acknowledged may be gone.
        """
        reads: dict[int, list[Answered]] = {}
        for answered in self.answers:
            if answered.kind in ("get", "range") and answered.outcome == "ok":
                reads.setdefault(answered.revision, []).append(answered)
        machine = Machine()
        written: dict[int, tuple[bytes, bytes | None]] = {}
        self._compare(machine, reads.pop(0, []))
        for command, index, term in committed:
            if command[:1] != _REGULAR:
                machine.skip(index, term)
                continue
            decoded = commands.decode(command[1:])
            before = machine.revision
            results = machine.apply(index, term, decoded)
            self.ones.applied(decoded, results, index, machine)
            for op, result in zip(decoded.ops, results, strict=True):
                if result.status == APPLIED and op[0] <= OP_DELETE and before < result.revision <= machine.revision:
                    written.setdefault(result.revision, (op[1], op[2] if op[0] == OP_PUT else None))
            if machine.revision in reads:
                self._compare(machine, reads.pop(machine.revision))
        for unexplained in reads.values():
            raise Broken(f"a read of a state that the store never had: {unexplained[0]}")
        self._check_writes(written)
        broken = self.ones.problem(written, self.answers, lost_disks)
        if broken is not None:
            raise Broken(broken)
        return machine

    def _check_writes(self, written: dict[int, tuple[bytes, bytes | None]]) -> None:
        times: Counter[bytes] = Counter(value for _, value in written.values() if value is not None)
        for answered in self.answers:
            if answered.kind not in ("put", "delete"):
                continue
            value = answered.value if answered.kind == "put" else None
            if (
                answered.outcome == "ok"
                and answered.level != "one"
                and written.get(answered.revision) != (answered.key, value)
            ):
                raise Broken(f"an acknowledged write was lost: {answered}")
            if value is not None:
                if answered.outcome == "not_applied" and times[value]:
                    raise Broken(f"a write that was refused took effect: {answered}")
                if times[value] > 1:
                    raise Broken(f"a write took effect {times[value]} times: {answered}")

    def _compare(self, machine: Machine, reads: list[Answered]) -> None:
        for answered in reads:
            for key, record in answered.shown.items():
                expected: Any = machine.get(key)
                if answered.level == "one":
                    why = self.ones.shown_wrongly(answered, key, record, expected, machine)
                else:
                    why = None if record == expected else "the log says something else"
                if why is not None:
                    raise Broken(f"a read showed {record}, the log says {expected}; {why}: {answered}")

    def counts(self) -> dict[str, int]:
        """How many answers of each kind there were."""
        counts: Counter[str] = Counter()
        for answered in self.answers:
            counts["reads" if answered.kind in ("get", "range") else "writes"] += 1
            counts[answered.outcome] += 1
            if answered.outcome == "ok" and answered.kind in ("put", "delete"):
                counts["acknowledged"] += 1
        return dict(counts)
