"""Small histories of one key from a seed: answers of a real register, some of them altered afterwards.

Half of them or so are linearizable. With `versions` they carry revisions, versions and conditions on revisions.
"""

import random
from typing import Any

from kvjepsen.records import NEVER, Operation


def random_history(seed: int | random.Random, *, ops_max: int = 6, versions: bool = False) -> list[Operation]:
    """At most `ops_max` operations of up to three processes; `i` and `ended` are their only times."""
    chance = seed if isinstance(seed, random.Random) else random.Random(seed)
    operations = _intervals(chance, max(chance.randint(1, ops_max), chance.randint(1, ops_max)))
    register = _Register(chance, versions)
    effects = [op for op in operations if not (op.outcome == "info" and chance.random() < 0.5)]
    for op in operations:
        register.ask(op)
    for op in sorted(effects, key=lambda op: chance.uniform(op.i, min(op.ended, 3 * ops_max))):
        register.apply(op)
    for op in operations:
        if op.outcome == "info":
            op.shown = op.revision = op.version = op.error = None
    for _ in range(chance.randint(0, 4)):
        _alter(chance, chance.choice(operations), versions)
    return operations


def _intervals(chance: random.Random, count: int) -> list[Operation]:
    waiting: dict[int, Operation | None] = dict.fromkeys(range(chance.randint(1, 3)))
    operations: list[Operation] = []
    i = 0
    while len(operations) < count or any(waiting.values()):
        process = chance.choice(list(waiting))
        op = waiting[process]
        if op is not None:
            if op.outcome == "ok":
                op.ended = op.answered = i
            waiting[process] = None
        elif len(operations) < count:
            f = chance.choice(("read", "read", "write", "write", "cas", "delete"))
            op = Operation(i, None, len(operations), f, outcome="info" if chance.random() < 0.2 else "ok")
            operations.append(op)
            waiting[process] = op
        i += 1
    return operations


class _Register:
    def __init__(self, chance: random.Random, versions: bool) -> None:
        self._chance, self._versions = chance, versions
        self._value: Any = None
        self._revision, self._version, self._store = 0, 0, 0

    def ask(self, op: Operation) -> None:
        """What the operation asks for."""
        chance = self._chance
        if op.f == "write":
            op.value = chance.randint(1, 3)
        elif op.f == "cas":
            op.value = [chance.randint(1, 3), chance.randint(1, 3)]
        if self._versions and op.f != "read" and chance.random() < 0.25:
            op.asked_revision = chance.randint(0, 4)

    def apply(self, op: Operation) -> None:
        """It takes effect now."""
        if self._chance.random() < 0.3:
            self._store += 1  # another key was written
        if op.f == "read":
            op.shown = self._value
            self._tell(op, present=self._value is not None)
            return
        error = self._refusal(op)
        if error is not None:
            op.outcome, op.error = ("fail" if op.outcome == "ok" else "info"), error
            return
        self._store += 1
        self._value = op.value[1] if op.f == "cas" else op.value
        self._revision = self._store
        self._version = 0 if self._value is None else self._version + 1
        self._tell(op, present=True)

    def _refusal(self, op: Operation) -> str | None:
        asked = op.asked_revision
        if asked is not None and asked != (0 if self._value is None else self._revision):
            return "precondition_failed"
        if op.f == "delete" and self._value is None:
            return "key_not_found"
        if op.f == "cas" and self._value != op.value[0]:
            # Under a condition, this error speaks of the condition.
            return "precondition_failed" if asked is None else "unavailable"
        return None

    def _tell(self, op: Operation, *, present: bool) -> None:
        if self._versions and present:
            op.revision, op.version = self._revision, self._version


def _alter(chance: random.Random, op: Operation, versions: bool) -> None:
    what = chance.randint(0, 4 if versions else 2)
    if op.f == "read" and op.outcome == "ok" and what < 3:
        op.shown = chance.choice((None, 1, 2, 3))
        if op.shown is None or not versions:
            op.revision = op.version = None
        elif op.revision is None:
            op.revision, op.version = chance.randint(1, 6), chance.choice((None, 1, 2))
    elif what == 1 and op.f != "read":
        op.outcome, op.ended, op.error = "info", NEVER, None
        if chance.random() < 0.7:
            op.revision = op.version = None
    elif what == 2 and op.f == "write" and op.outcome != "info":
        op.outcome = "fail"
        op.error, op.revision, op.version = "unavailable", None, None
    elif what == 3 and op.revision is not None:
        op.revision = max(1, op.revision + chance.choice((-1, 1)))
    elif what == 4:
        op.version = None if op.version is None else max(0, op.version + chance.choice((-1, 0, 1)))
