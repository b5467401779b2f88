"""What is applied once, against a slow and plain model: sessions, idempotency keys, level ONE writes of several nodes.

The model below was written from the prose (DESIGN 2.1 to 2.4 and the rules at the head of the files in kvstore/state),
with dicts and lists only. Replicated settings are small, so that every bound is met again and again. Two replicas
apply the same entries. One of them reads them from their bytes, and is replaced now and then by what a snapshot of the
other one, drained while entries went on, and the entries behind it make.
"""

import copy
from collections.abc import Generator
from typing import Any
from unittest import mock

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from kvstore.model import commands
from kvstore.model.commands import Command, Op, Origin, close_session, delete, open_session, put
from kvstore.model.results import (
    APPLIED,
    DUPLICATE,
    EXPIRED,
    FULL,
    GAP,
    NOT_FOUND,
    ONCE_CONFLICT,
    PRECONDITION_FAILED,
    SUPERSEDED,
    WRONG_EPOCH,
    OpResult,
    Record,
)
from kvstore.model.stamp import ZERO_STAMP, Stamp
from kvstore.state import origins as origins_module
from kvstore.state import sessions as sessions_module
from kvstore.state import snapshot as snapshot_module
from kvstore.state.digest import raw_stamp, record_hasher, tombstone_hasher
from tests.support.machines import contents_of, load, small_machine

SMALL = {
    "tombstones_max": 3,
    "clock_drift_ms_max": 10,
    "idempotency_window_ms": 60,
    "idempotency_keys_max": 3,
    "session_window_ms": 50,
    "sessions_max": 3,
    "session_answers_max": 3,
    "answers_max": 5,
    "receipt_runs_max": 5,
    "origins_max": 3,
}
RUNS_SLACK = 1  # a fifth of receipt_runs_max
EPOCHS_KEPT = 3
SCARCE_SHARE = 2
NODES = ["n1", "n2", "n3", "n4"]
FORGER = "n4"
"""The node that goes back to old epochs. Whoever can name the present one is believed, so that it has no promise."""

Request = tuple[int, bytes, bytes, int | None]


class Model:
    """The rules as they are told, and nothing clever. Every list is in the order of age or of last use."""

    def __init__(self) -> None:
        self.index = 1
        self.revision = 0
        self.last_stamp = ZERO_STAMP
        self.floor = ZERO_STAMP
        self.records: dict[bytes, Record] = {}
        self.tombstones: dict[bytes, tuple[Stamp, int]] = {}
        self.sessions: list[dict[str, Any]] = []
        self.next_session = 1
        self.keys: list[dict[str, Any]] = []
        self.origins: list[dict[str, Any]] = []

    # Entries

    def apply(self, command: Command) -> list[OpResult]:
        self.index += 1
        last, wanted = self.last_stamp, command.stamp
        self.last_stamp = wanted if wanted > last else Stamp(last.ms, last.counter + 1, wanted.node, 0)
        entry = self.last_stamp
        self.sessions = [each for each in self.sessions if entry.ms - each["used_ms"] < SMALL["session_window_ms"]]
        self.keys = [each for each in self.keys if entry.ms - each["ms"] < SMALL["idempotency_window_ms"]]
        if command.origin is None:
            return [self._client(op, entry) for op in command.ops]
        return self._intents(command.origin, list(command.ops), entry)

    # Clients

    def _client(self, op: Op, entry: Stamp) -> OpResult:
        if op[0] == commands.OP_OPEN_SESSION:
            if len(self.sessions) == SMALL["sessions_max"]:
                unused = [each for each in self.sessions if each["floor"] == 1 and not each["answers"]]
                if not unused:
                    return OpResult(FULL, 0, 0)
                self.sessions.remove(unused[0])
            self.sessions.append({"number": self.next_session, "used_ms": entry.ms, "floor": 1, "answers": {}})
            self.next_session += 1
            return OpResult(APPLIED, self.next_session - 1, 0)
        if op[0] == commands.OP_CLOSE_SESSION:
            left = [each for each in self.sessions if each["number"] != op[1]]
            closed = len(left) < len(self.sessions)
            self.sessions = left
            return OpResult(APPLIED if closed else NOT_FOUND, self.revision, 0)
        request, once = request_and_once(op)
        if once is None:
            return self._execute(request, entry)
        if isinstance(once, bytes):
            return self._keyed(request, once, entry)
        number, sequence, floor = once
        return self._in_session(request, number, sequence, floor, entry)

    def _in_session(self, request: Request, number: int, sequence: int, floor: int, entry: Stamp) -> OpResult:
        found = [each for each in self.sessions if each["number"] == number]
        if not found:
            return OpResult(EXPIRED, 0, 0)
        (session,) = found
        session["used_ms"] = entry.ms
        self.sessions.remove(session)
        self.sessions.append(session)
        session["floor"] = max(session["floor"], floor)
        session["answers"] = {each: kept for each, kept in session["answers"].items() if each >= session["floor"]}
        if sequence < session["floor"]:
            return OpResult(EXPIRED, 0, 0)
        if sequence in session["answers"]:
            first, result = session["answers"][sequence]
            return result if first == request else OpResult(ONCE_CONFLICT, 0, 0)
        share = SMALL["session_answers_max"]
        if 2 * self.answers() >= SMALL["answers_max"]:
            share = SCARCE_SHARE
        if len(session["answers"]) >= share or self.answers() == SMALL["answers_max"]:
            return OpResult(FULL, 0, 0)
        result = self._execute(request, entry)
        session["answers"][sequence] = (request, result)
        return result

    def _keyed(self, request: Request, key: bytes, entry: Stamp) -> OpResult:
        for each in self.keys:
            if each["key"] == key:
                return each["result"] if each["request"] == request else OpResult(ONCE_CONFLICT, 0, 0)
        if len([each for each in self.keys if not each["one"]]) >= SMALL["idempotency_keys_max"]:
            return OpResult(FULL, 0, 0)
        result = self._execute(request, entry)
        self.keys.append({"key": key, "ms": entry.ms, "request": request, "result": result, "one": False})
        return result

    def _execute(self, request: Request, stamp: Stamp) -> OpResult:
        kind, key, value, condition = request
        old = self.records.get(key)
        if condition is not None:
            if condition == 0:
                holds = old is None
            elif condition == -1:
                holds = old is not None
            else:
                holds = old is not None and old.mod_revision == condition
            if not holds:
                return OpResult(PRECONDITION_FAILED, old.mod_revision if old else 0, old.version if old else 0)
        if kind == commands.OP_PUT:
            return self._write(key, value, stamp)
        if old is None:
            return OpResult(NOT_FOUND, self.revision, 0)
        return self._bury(key, stamp)

    # Level ONE writes

    def _intents(self, origin: Origin, ops: list[Op], entry: Stamp) -> list[OpResult]:
        known = self.origin(origin.node)
        current = known["epoch"] if known else 0
        if origin.epoch != current:
            if origin.previous_epoch != current:
                return [OpResult(WRONG_EPOCH, 0, 0)] * len(ops)
            if origin.first_sequence != 1:
                return [OpResult(GAP, 0, 0)] * len(ops)
            if known is None:
                if len(self.origins) == SMALL["origins_max"]:
                    self.origins.pop(0)
                known = {"node": origin.node, "results": {}}
                self.origins.append(known)
            known["epoch"], known["mark"] = origin.epoch, 0
            known["results"].pop(origin.epoch, None)
            known["results"][origin.epoch] = []
        assert known is not None
        self.origins.remove(known)
        self.origins.append(known)
        if origin.first_sequence > known["mark"] + 1:
            return [OpResult(GAP, known["mark"], 0)] * len(ops)
        results = []
        for sequence, op in enumerate(ops, origin.first_sequence):
            if sequence <= known["mark"]:
                results.append(OpResult(DUPLICATE, 0, 0))
                continue
            assert sequence == known["mark"] + 1
            result = self._intent(op, origin.node, sequence, entry, origin.wall_ms)
            known["mark"] = sequence
            known["results"][origin.epoch].append(result)
            results.append(result)
        return results

    def _intent(self, op: Op, node: str, sequence: int, entry: Stamp, wall_ms: int) -> OpResult:
        kind, key, ms, counter, once = op[0], op[1], op[-3], op[-2], op[-1]
        request: Request = (kind, key, op[2] if kind == commands.OP_PUT else b"", None)
        for each in self.keys:
            if once is not None and each["key"] == once:
                return each["result"] if each["request"] == request else OpResult(ONCE_CONFLICT, 0, 0)
        # Of those that are bounded, and so share one time, the node's own order decides.
        bound = max((wall_ms + SMALL["clock_drift_ms_max"], 0), (entry.ms, entry.counter))
        ms, counter = min((ms, counter), bound)
        stamp = Stamp(ms, counter, node, sequence)
        self.last_stamp = max(self.last_stamp, stamp)
        if stamp < self.stamp_of(key):
            result = OpResult(SUPERSEDED, 0, 0)
        elif kind == commands.OP_PUT:
            result = self._write(key, op[2], stamp)
        else:
            result = self._bury(key, stamp)
        if once is not None:
            self.keys.append({"key": once, "ms": entry.ms, "request": request, "result": result, "one": True})
        return result

    # Both

    def _write(self, key: bytes, value: bytes, stamp: Stamp) -> OpResult:
        self.revision += 1
        old = self.records.get(key)
        created, version = (old.create_revision, old.version + 1) if old else (self.revision, 1)
        self.records[key] = Record(value, created, self.revision, version, 0, stamp)
        self.tombstones.pop(key, None)
        return OpResult(APPLIED, self.revision, version)

    def _bury(self, key: bytes, stamp: Stamp) -> OpResult:
        self.revision += 1
        self.records.pop(key, None)
        self.tombstones[key] = (stamp, self.revision)
        if len(self.tombstones) > SMALL["tombstones_max"]:
            oldest = min(self.tombstones, key=lambda each: self.tombstones[each][1])
            self.floor = max(self.floor, self.tombstones.pop(oldest)[0])
        return OpResult(APPLIED, self.revision, 0)

    # To look at

    def stamp_of(self, key: bytes) -> Stamp:
        if key in self.records:
            return self.records[key].stamp
        return self.tombstones[key][0] if key in self.tombstones else self.floor

    def answers(self) -> int:
        return sum(len(each["answers"]) for each in self.sessions)

    def origin(self, node: str) -> dict[str, Any] | None:
        return next((each for each in self.origins if each["node"] == node), None)

    def mark(self, node: str) -> tuple[int, int]:
        known = self.origin(node)
        return (known["epoch"], known["mark"]) if known else (0, 0)

    def digest(self) -> int:
        total = 0
        for key, record in self.records.items():
            value, created, modified, version, lease, stamp = record
            total += record_hasher(raw_stamp(stamp))(key, value, created, modified, version, lease)
        for key, (stamp, revision) in self.tombstones.items():
            total += tombstone_hasher(raw_stamp(stamp))(key, revision)
        return total % 2**64


def request_and_once(op: Op) -> tuple[Request, Any]:
    """A client's put or delete, apart from the name under which it may be repeated."""
    if op[0] == commands.OP_PUT:
        return (op[0], op[1], op[2], op[3]), op[4] if len(op) == 5 else None
    return (op[0], op[1], b"", op[2]), op[3] if len(op) == 4 else None


def runs_from_the_end(results: list[OpResult]) -> list[int]:
    """For each result, how many runs lie behind its own (0: it is in the last one)."""
    behind, runs = [0] * len(results), 0
    for place in range(len(results) - 2, -1, -1):
        this, after = results[place], results[place + 1]
        one_run = this.status == after.status and (this.status != APPLIED or this.revision + 1 == after.revision)
        runs += not one_run
        behind[place] = runs
    return behind


KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
VALUES = st.sampled_from([b"", b"1", b"2"])
CONDITIONS = st.sampled_from([None, None, None, None, 0, -1, 1, 2])
WAITS = st.sampled_from([0, 0, 0, 1, 2, 5, 12, 30, 49, 50, 60, -1, -15, -40])
ONCE_KEYS = st.sampled_from([b"i1", b"i2", b"i3", b"i4", b"i5"])
PLAIN = st.tuples(st.just("plain"), KEYS, st.none() | VALUES, CONDITIONS)
KEYED = st.tuples(st.just("keyed"), KEYS, st.none() | VALUES, CONDITIONS, ONCE_KEYS)
# How far below the youngest session, which sequence above the session's floor, and whether the floor rises.
IN_SESSION = st.tuples(
    st.just("session"),
    KEYS,
    st.none() | VALUES,
    CONDITIONS,
    st.integers(-1, 3),
    st.integers(-1, 4),
    st.sampled_from([0, 0, 0, 1, 2]),
)
SESSION = st.tuples(st.just("open")) | st.tuples(st.just("close"), st.integers(-1, 3))
REPEATED = st.tuples(st.just("again"), st.integers(0, 19))
CLIENT_OPS = st.lists(IN_SESSION | KEYED | PLAIN | SESSION | REPEATED | IN_SESSION | REPEATED, min_size=1, max_size=5)
INTENTS = st.lists(
    st.tuples(KEYS, st.none() | VALUES, st.integers(-40, 40), st.integers(0, 2), st.none() | st.none() | ONCE_KEYS),
    min_size=1,
    max_size=4,
)


class MachineOnce(RuleBasedStateMachine):
    """`machine` is driven with commands, `replica` with their bytes."""

    steps = 0

    def __init__(self) -> None:
        super().__init__()
        # Frames of few rows, so that little makes many.
        self.patches = [
            mock.patch.object(snapshot_module, "SNAPSHOT_FRAME_RECORDS", 20),
            mock.patch.object(origins_module, "_EPOCHS_KEPT", EPOCHS_KEPT),
            mock.patch.object(sessions_module, "_SCARCE_SHARE", SCARCE_SHARE),
        ]
        for each in self.patches:
            each.start()
        self.machine = small_machine(**SMALL)
        self.replica = small_machine(**SMALL)
        self.model = Model()
        self.now_ms = 1_000
        self.entries: list[bytes | None] = []
        self.results: list[list[OpResult]] = []
        self.sent: list[Op] = []
        self.epochs: dict[str, list[tuple[int, int]]] = {node: [] for node in NODES}
        self.intents: dict[tuple[str, int], list[Op]] = {}
        self.epochs_made = 0
        self.draining: Generator[bytes, None, None] | None = None
        self.drained: list[bytes] = []
        self.moment = self.model
        self.executed: dict[tuple[Any, ...], int] = {}

    def teardown(self) -> None:
        for each in self.patches:
            each.stop()

    # -- what happens

    @rule(drawn=CLIENT_OPS, wait=WAITS, leader=st.sampled_from(NODES))
    def clients(self, drawn: list[tuple[Any, ...]], wait: int, leader: str) -> None:
        ops = [self._op(each) for each in drawn]
        self._apply(Command(commands.KIND_OPS, ops, self._stamp(wait, leader)))

    @rule(
        node=st.sampled_from(NODES),
        drawn=INTENTS,
        wait=WAITS,
        behind=st.sampled_from([0, 0, 0, -5, -40, 3, 20]),
        place=st.sampled_from([0, 0, 0, 0, 0, -1, -2, -9, 1, 3]),
        epoch=st.sampled_from(["current"] * 6 + ["older", "oldest", "unheard of"]),
        previous=st.sampled_from(["true"] * 8 + ["none", "its own"]),
    )
    def forward(
        self,
        node: str,
        drawn: list[tuple[Any, ...]],
        wait: int,
        behind: int,
        place: int,
        epoch: str,
        previous: str,
    ) -> None:
        """A batch of a node's intents: the next ones, some of them again, too late or too early, of an older epoch."""
        if not self.epochs[node]:
            self._begin_epoch(node, 0)
        known = self.epochs[node]
        number, named = {"current": known[-1], "older": known[-2:][0], "oldest": known[0], "unheard of": (99, 98)}[
            epoch
        ]
        named = {"true": named, "none": 0, "its own": number}[previous]
        current, mark = self.model.mark(node)
        first = max(1, (mark if current == number else 0) + 1 + place)
        log = self.intents.setdefault((node, number), [])
        count = len(drawn)
        while len(log) < first + count - 1:
            log.append(self._intent(*drawn[len(log) % count]))
        stamp = self._stamp(wait, "n1")
        origin = Origin(node, number, named, first, max(0, stamp.ms + behind))
        ops = log[first - 1 : first - 1 + count]
        self._apply(Command(commands.KIND_INTENTS, ops, stamp, None, origin))

    @rule(node=st.sampled_from(NODES), follows=st.sampled_from(["applied"] * 4 + ["own", "zero"]))
    def restart(self, node: str, follows: str) -> None:
        """A new epoch, that names the one that the machine knows, the one that its node had, or none."""
        own = self.epochs[node][-1][0] if self.epochs[node] else 0
        self._begin_epoch(node, {"applied": self.model.mark(node)[0], "own": own, "zero": 0}[follows])

    @rule(place=st.integers(0, 9), wait=WAITS)
    def forged_predecessor(self, place: int, wait: int) -> None:
        """An epoch that was there before comes again, and names the present one as the one before it."""
        current = self.model.mark(FORGER)[0]
        epochs = [number for number, _ in self.epochs[FORGER] if (FORGER, number) in self.intents and number != current]
        if not epochs:
            return
        number = epochs[place % len(epochs)]
        ops = self.intents[FORGER, number][:2]
        origin = Origin(FORGER, number, current, 1)
        self._apply(Command(commands.KIND_INTENTS, ops, self._stamp(wait, "n2"), None, origin))

    @rule(node=st.sampled_from(NODES), wait=WAITS)
    def empty_batch(self, node: str, wait: int) -> None:
        """A node that has nothing to say, but a new epoch to say it in."""
        self._begin_epoch(node, self.model.mark(node)[0])
        origin = Origin(node, *self.epochs[node][-1], 1)
        self._apply(Command(commands.KIND_INTENTS, [], self._stamp(wait, "n3"), None, origin))

    @rule()
    def skip(self) -> None:
        for each in (self.machine, self.replica):
            each.skip(each.applied_index + 1, 1)
        self.model.index += 1
        self.entries.append(None)
        self.results.append([])

    @precondition(lambda self: self.draining is None)
    @rule()
    def begin_snapshot(self) -> None:
        self.moment = copy.deepcopy(self.model)
        self.draining, self.drained = self.machine.snapshot(), []
        self.entries, self.results = [], []

    @precondition(lambda self: self.draining is not None)
    @rule(frames=st.integers(1, 5))
    def drain(self, frames: int) -> None:
        assert self.draining is not None
        for _ in range(frames):
            frame = next(self.draining, None)
            if frame is None:
                self.draining = None
                self._catch_up()
                return
            self.drained.append(frame)

    @precondition(lambda self: self.draining is None)
    @rule()
    def restore(self) -> None:
        frames = list(self.machine.snapshot())
        assert list(self.replica.snapshot()) == frames
        self.machine = load(frames)
        assert list(self.machine.snapshot()) == frames
        assert_contents(frames, self.model)

    @rule()
    def receipts(self) -> None:
        """Results of intents: the true one or none, and none forgotten before the bound says so."""
        for known in self.model.origins:
            epochs = [epoch for epoch, results in known["results"].items() if results or epoch == known["epoch"]]
            for epoch, results in known["results"].items():
                behind = runs_from_the_end(results)
                younger = list(known["results"].values())[list(known["results"]).index(epoch) + 1 :]
                later = sum(max(runs_from_the_end(others), default=-1) + 1 for others in younger)
                for sequence, result in enumerate(results, 1):
                    found = self.machine.intent_result(known["node"], epoch, sequence)
                    assert found == self.replica.intent_result(known["node"], epoch, sequence)
                    if found is None:
                        forgotten = known["node"] == FORGER or epoch not in epochs[-EPOCHS_KEPT:]
                        assert forgotten or later + behind[sequence - 1] >= SMALL["receipt_runs_max"]
                    else:
                        assert found == OpResult(result.status, result.revision if result.status == APPLIED else 0, 0)
                        assert epoch in epochs[-EPOCHS_KEPT:]
                        assert behind[sequence - 1] < SMALL["receipt_runs_max"] + RUNS_SLACK
                assert self.machine.intent_result(known["node"], epoch, len(results) + 1) is None
        for node in NODES:
            if self.model.origin(node) is None:
                assert self.machine.intent_result(node, self.epochs_made, 1) is None

    # -- what must be true after each of them

    @invariant()
    def agree(self) -> None:
        type(self).steps += 1
        model = self.model
        digest = model.digest()
        for each in (self.machine, self.replica):
            assert (each.applied_index, each.revision, each.last_stamp, each.stamp_floor) == (
                model.index,
                model.revision,
                model.last_stamp,
                model.floor,
            )
            assert each.digest == digest
            assert each.sessions_open == len(model.sessions) <= SMALL["sessions_max"]
            assert each.answers_kept == model.answers() + len(model.keys)
            assert (len(each), each.tombstone_count) == (len(model.records), len(model.tombstones))
        for node in NODES:
            assert self.machine.mark(node) == self.replica.mark(node) == model.mark(node)
        for key in (b"a", b"b", b"c", b"d", b"e"):
            assert self.machine.get(key) == self.replica.get(key) == model.records.get(key)
            assert self.machine.stamp_of(key) == self.replica.stamp_of(key) == model.stamp_of(key)

    # -- the parts

    def _stamp(self, wait: int, leader: str) -> Stamp:
        self.now_ms = max(0, self.now_ms + wait)
        return Stamp(self.now_ms, 0, leader, 0)

    def _op(self, drawn: tuple[Any, ...]) -> Op:
        kind = drawn[0]
        if kind == "open":
            return open_session()
        if kind == "close":
            return close_session(max(0, self.model.next_session - 1 - drawn[1]))
        if kind == "again":
            return self.sent[-1 - drawn[1] % len(self.sent)] if self.sent else open_session()
        _, key, value, condition, *name = drawn
        once: Any = None
        if kind == "keyed":
            once = name[0]
        elif kind == "session":
            number = max(0, self.model.next_session - 1 - name[0])
            floors = [each["floor"] for each in self.model.sessions if each["number"] == number] or [1]
            once = (number, max(0, floors[0] + name[1]), floors[0] + name[2])
        op = delete(key, condition, once) if value is None else put(key, value, condition, once)
        if once is not None:
            self.sent.append(op)
        return op

    def _intent(self, key: bytes, value: bytes | None, offset: int, counter: int, once: bytes | None) -> Op:
        ms = max(0, self.now_ms + offset)
        return (1, key, ms, counter, once) if value is None else (0, key, value, ms, counter, once)

    def _begin_epoch(self, node: str, previous: int) -> None:
        self.epochs_made += 1
        self.epochs[node].append((100 + self.epochs_made, previous))

    def _apply(self, command: Command) -> None:
        before = (self.machine.revision, self.machine.digest)
        forgotten = {each["node"] for each in self.model.origins}
        data = self._bytes(command)
        expected = self.model.apply(command)
        assert self.machine.apply(self.machine.applied_index + 1, 1, command) == expected
        assert self.replica.apply(self.replica.applied_index + 1, 1, commands.decode(data)) == expected
        self.entries.append(data)
        self.results.append(expected)
        forgotten -= {each["node"] for each in self.model.origins}
        # O5: of a node that was forgotten nothing is known any more.
        self.executed = {name: done for name, done in self.executed.items() if name[0] not in forgotten}
        self._check_once(command, expected, *before)

    def _bytes(self, command: Command) -> bytes:
        if command.origin is None:
            return commands.encode(list(command.ops), command.stamp)
        return commands.encode_intents(list(command.ops), command.stamp, command.origin)

    def _check_once(self, command: Command, results: list[OpResult], revision: int, digest: int) -> None:
        """Independent of the model: each revision has one request, and each request has at most one."""
        now_ms = self.machine.last_stamp.ms
        last = revision
        for place, (op, result) in enumerate(zip(command.ops, results, strict=True)):
            # An answer that is told again has the revision of its own time.
            if result.status != APPLIED or op[0] > commands.OP_DELETE or result.revision <= last:
                continue
            last += 1
            assert result.revision == last
            name = self._name(command, op, place)
            if name is None:
                continue
            if name in self.executed:
                # Only an idempotency key may name a second request, once its window is over.
                assert name[0] == "key"
                assert now_ms - self.executed[name] >= SMALL["idempotency_window_ms"]
            self.executed[name] = now_ms
        assert last == self.machine.revision
        if last == revision:
            assert self.machine.digest == digest

    def _name(self, command: Command, op: Op, place: int) -> tuple[Any, ...] | None:
        if command.origin is not None:
            if command.origin.node == FORGER:
                return None
            return (command.origin.node, command.origin.epoch, command.origin.first_sequence + place)
        once = request_and_once(op)[1]
        if once is None:
            return None
        return ("key", once) if isinstance(once, bytes) else ("session", once[0], once[1])

    def _catch_up(self) -> None:
        """The replica becomes what the snapshot and the entries behind it make."""
        assert_contents(self.drained, self.moment)
        self.replica = load(self.drained)
        for data, expected in zip(self.entries, self.results, strict=True):
            index = self.replica.applied_index + 1
            if data is None:
                self.replica.skip(index, 1)
            else:
                assert self.replica.apply(index, 1, commands.decode(data)) == expected


def assert_contents(frames: list[bytes], model: Model) -> None:
    """Everything that a snapshot holds besides the records, in its order, and within its bounds."""
    found = contents_of(frames)
    assert found["header"]["sessions_next"] == model.next_session
    assert [(number, used_ms, floor) for number, used_ms, floor, _ in found["sessions"]] == [
        (each["number"], each["used_ms"], each["floor"]) for each in model.sessions
    ]
    answers = [{each[0]: OpResult(*each[2:]) for each in session[3]} for session in found["sessions"]]
    assert answers == [
        {sequence: result for sequence, (_, result) in each["answers"].items()} for each in model.sessions
    ]
    assert all(len(each) <= SMALL["session_answers_max"] for each in answers)
    assert sum(map(len, answers)) <= SMALL["answers_max"]
    assert [(key, ms, OpResult(*result), one) for key, ms, _, *result, one in found["idempotency_keys"]] == [
        (each["key"], each["ms"], each["result"], each["one"]) for each in model.keys
    ]
    assert found["origins"] == [[each["node"], each["epoch"], each["mark"]] for each in model.origins]
    assert len(found["origins"]) <= SMALL["origins_max"]
    assert len(found["tombstones"]) <= SMALL["tombstones_max"]
    runs: dict[tuple[str, int], int] = {}
    for node, epoch, *_ in found["runs"]:
        runs[node, epoch] = runs.get((node, epoch), 0) + 1
    assert all(count <= SMALL["receipt_runs_max"] + RUNS_SLACK for count in runs.values())
    for node in NODES:
        assert sum(each == node for each, _ in runs) <= EPOCHS_KEPT


MachineOnce.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachineOnce = MachineOnce.TestCase


@pytest.mark.long
def test_two_hundred_thousand_steps() -> None:
    before = MachineOnce.steps
    run_state_machine_as_test(
        MachineOnce, settings=settings(max_examples=2_200, stateful_step_count=100, deadline=None, database=None)
    )
    assert MachineOnce.steps - before >= 200_000
