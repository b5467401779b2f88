"""What must hold of writes at level ONE, in one simulated run.

1. An acknowledged one is in the log once with its result, unless its node lost its disk.
2. It is applied, or superseded. Superseded only by what its node had not applied when it was acknowledged: whatever its
   node had seen, it is above that. If several nodes have it under one key, the first copy in the log decides, so what
   counts is what the one of them had applied that had applied least.
3. A read at level ONE shows a pending write of its own node (and process) where that will win; and none that was
   acknowledged before a write at level ALL began, if that was acknowledged before the read (and its node was a voter
   then). A key shown as absent may be a pending deletion: a later one that this node was sent, be it the second copy of
   one that another node acknowledged, or one that came while the read waited, unless its key had been decided by then.
4. A read at level ALL shows a state with every write at level ONE that was acknowledged before it began.
5. A receipt says at the end what the log says.
6. The stamp of a key's record only rises, but for a record that was deleted in between.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kvstore.model.commands import OP_DELETE, OP_PUT, Command
from kvstore.model.results import APPLIED, DUPLICATE, GAP, SUPERSEDED, WRONG_EPOCH, OpResult, Receipt, Record
from kvstore.model.stamp import Stamp
from kvstore.state.machine import Machine

if TYPE_CHECKING:
    from kvjepsen.history import Answered


class _Fate:
    """What the log says of one intent. `winner` is the key's revision where it was superseded, 0 if it has none.
    `decided` is the index of the first copy under its idempotency key, whoever had that: from there on this one changes
    nothing.
    """

    __slots__ = ("decided", "index", "key", "result", "stamp", "value", "winner")

    def __init__(
        self, key: bytes, value: bytes | None, stamp: Stamp, result: OpResult, index: int, winner: int, decided: int
    ) -> None:
        self.key, self.value, self.stamp = key, value, stamp
        self.result, self.index, self.winner, self.decided = result, index, winner, decided


class Ones:
    """All acknowledged writes at level ONE of a run, in the order of their acknowledgement. `attempts` are all that
    were sent.
    """

    def __init__(self) -> None:
        self._acknowledged: list[Answered] = []
        self._by_receipt: dict[str, Answered] = {}
        self._fates: dict[str, _Fate] = {}
        self._told: list[tuple[Answered, Receipt]] = []
        self._wrong: str | None = None
        self._shown_without: list[tuple[Answered, Answered, Stamp]] = []
        self._stamps: dict[bytes, Stamp] = {}
        self._decided: dict[bytes, int] = {}
        self.attempts: list[Answered] = []

    def __len__(self) -> int:
        return len(self._acknowledged)

    def __iter__(self) -> "Iterator[Answered]":
        return iter(self._acknowledged)

    def acknowledged(self, answered: "Answered") -> None:
        """A node answered with a receipt."""
        assert answered.receipt is not None
        self._acknowledged.append(answered)
        self._by_receipt.setdefault(answered.receipt, answered)

    def told(self, answered: "Answered", receipt: Receipt) -> None:
        """What its receipt said at the end."""
        self._told.append((answered, receipt))

    def applied(self, command: Command, results: list[OpResult], index: int, machine: Machine) -> None:
        """An entry of the log, with what applying it gave."""
        self._check_stamps(command, machine)
        origin = command.origin
        if origin is None:
            return
        for place, (op, result) in enumerate(zip(command.ops, results, strict=True)):
            if result.status in (DUPLICATE, GAP, WRONG_EPOCH):
                continue
            receipt = f"{origin.node}.{origin.epoch:x}.{origin.first_sequence + place}"
            if receipt in self._fates:
                self._wrong = f"the intent {receipt} was applied twice"
            winner = machine.inspect(op[1])[0] if result.status == SUPERSEDED else 0
            stamp = Stamp(op[-3], op[-2], origin.node, origin.first_sequence + place)
            decided = index if op[-1] is None else self._decided.setdefault(op[-1], index)
            value = op[2] if op[0] == OP_PUT else None
            self._fates[receipt] = _Fate(op[1], value, stamp, result, index, winner, decided)

    def _check_stamps(self, command: Command, machine: Machine) -> None:
        for op in command.ops:
            if op[0] > OP_DELETE:
                continue
            key, record = op[1], machine.get(op[1])
            before = self._stamps.pop(key, None)
            if record is not None:
                self._stamps[key] = record.stamp
                if before is not None and record.stamp < before:
                    self._wrong = f"{key!r} went back from stamp {before} to {record.stamp}"

    def shown_wrongly(
        self, read: "Answered", key: bytes, record: Record | None, expected: Record | None, machine: Machine
    ) -> str | None:
        """Rule 3 for a read at level ONE that showed `record` where the log said `expected`; what is wrong, or None.
        `machine` is the state that the read's revision names.
        """
        mine = [each for each in self._acknowledged if (each.node, each.key) == (read.node, key)]
        if record != expected:
            if record is not None and record.mod_revision:
                return "and it is no pending write"
            value = None if record is None else record.value
            if not any(_left_by(one) == value for one in self._all_of(read, key)):
                return "and nobody wrote that here"
            if record is not None and record.stamp < machine.stamp_of(key):
                return "and it would be superseded"
        for one in mine:
            shown = record is not None and one.kind == "put" and record.value == one.value and not record.mod_revision
            if shown and one.at_s < read.all_began_s:
                return f"which is older than a write at level all: {one}"
        earlier = [one for one in mine if one.start == read.start and one.at_s < read.began_s]
        same = bool(earlier) and (None if record is None else record.value) == _left_by(earlier[-1])
        if earlier and record == expected and not same:
            self._shown_without.append((read, earlier[-1], machine.stamp_of(key)))
        return None

    def _all_of(self, read: "Answered", key: bytes) -> "list[Answered]":
        """Every write at level ONE that was sent to the node of `read`, acknowledged or not."""
        return [each for each in self.attempts if each.key == key and read.node in dict(each.sent)]

    def _hidden(self) -> str | None:
        """A read that did not show a write of its own node and process, acknowledged before and not applied yet,
        although it was newer than what the read showed.
        """
        for read, one, shown_stamp in self._shown_without:
            fate = self._fates.get(one.receipt or "")
            if fate is None or fate.decided <= read.applied_index or fate.stamp <= shown_stamp:
                continue
            if not (read.shown[one.key] is None and self._deleted_since(read, one)):
                return f"a read at level one without a write of its own node: {read} / {one}"
        return None

    def _deleted_since(self, read: "Answered", one: "Answered") -> bool:
        """Whether a deletion may have been pending at the node of `read` that is newer than `one`. It cannot, if the
        read's state had it already: what another copy of it decided changes nothing any more.
        """
        for each in self._all_of(read, one.key):
            if each is one or each.kind != "delete":
                continue
            fate = self._fates.get(each.receipt or "")
            decided = fate is not None and fate.decided <= read.applied_index
            sent = any(node == read.node and one.began_s <= at_s <= read.at_s for node, at_s in each.sent)
            if sent and not decided:
                return True
        return False

    def problem(
        self,
        written: dict[int, tuple[bytes, bytes | None]],
        answers: "list[Answered]",
        lost_disks: frozenset[str],
    ) -> str | None:
        """Rules 1, 2, 4 and 5: what is broken, or None."""
        if self._wrong is not None:
            return self._wrong
        for one in self._acknowledged:
            if one.node in lost_disks:
                continue
            wrong = self._fate_of(one, written)
            if wrong is not None:
                return f"{wrong}: {one}"
        for read in answers:
            if read.level == "all" and read.kind == "get" and read.outcome == "ok":
                for one in self._acknowledged[: read.ones]:
                    fate = self._fates.get(one.receipt or "")
                    if one.node not in lost_disks and (fate is None or fate.index > read.applied_index):
                        return f"a read at level all without an earlier write at level one: {read} / {one}"
        return self._hidden() or self._receipts_wrong()

    def _fate_of(self, one: "Answered", written: dict[int, tuple[bytes, bytes | None]]) -> str | None:
        fate = self._fates.get(one.receipt or "")
        if fate is None:
            return "an acknowledged write at level one was lost"
        value = _left_by(one)
        if (fate.key, fate.value) != (one.key, value):
            return "a receipt names another write"
        if fate.result.status == APPLIED and written.get(fate.result.revision) != (one.key, value):
            return "a write at level one is not where its result says"
        if fate.result.status == SUPERSEDED and 0 < fate.winner <= one.seen:
            return f"superseded by revision {fate.winner}, which its node had applied"
        return None

    def _receipts_wrong(self) -> str | None:
        for one, receipt in self._told:
            fate = self._fates.get(one.receipt or "")
            state = {APPLIED: "committed", SUPERSEDED: "superseded"}.get(fate.result.status if fate else -1)
            revision = fate.result.revision if fate is not None and state == "committed" else None
            if state is not None and (receipt.state, receipt.revision) != (state, revision):
                return f"the receipt says {receipt}, the log {state} at {revision}: {one}"
        return None


def _left_by(one: "Answered") -> bytes | None:
    """What a write leaves under its key."""
    return one.value if one.kind == "put" else None
