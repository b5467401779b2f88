"""Everything that changes keys, against a list of whole states, one for each revision: transactions, range deletes,
leases; reads in the past, and what each revision changed.

The model was written from the prose at the head of the modules, with plain dicts. It copies the whole state at every
revision, so that what it says of the past needs no cleverness.
"""

from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kvstore.model.commands import (
    OP_DELETE,
    OP_DELETE_RANGE,
    OP_PUT,
    OP_TXN,
    Op,
    compact,
    delete,
    delete_range,
    expire,
    grant,
    put,
    revoke,
)
from kvstore.model.results import APPLIED, COMPACTED, LEASE_NOT_FOUND, NOT_FOUND, STALE_TERM, TOO_LARGE, OpResult
from kvstore.model.transactions import STEP_GET, STEP_RANGE, BadTransaction, check, transaction
from kvstore.state.machine import Compacted, Machine
from tests.support.machines import apply, load, small_machine

SMALL = {
    "tombstones_max": 2,
    "changes_max": 5,
    "lease_keys_max": 2,
    "leases_max": 3,
    "history_revisions_max": 8,
    "answer_bytes_max": 600,
}

KEYS = st.sampled_from([b"a", b"a\x00", b"ab", b"b", b"c", b"\xff"])
BOUNDS = st.sampled_from([b"", b"a", b"ab", b"b", b"c"])
ENDS = st.none() | st.sampled_from([b"a\x00", b"b", b"c", b"\xff"])
VALUES = st.sampled_from([b"", b"1", b"2", b"x" * 150])
LEASES = st.sampled_from([0, 0, -1, 1, 2, 3, 4])

COMPARISONS = st.one_of(
    st.tuples(st.just(0), KEYS, st.integers(0, 3), VALUES),
    st.tuples(st.sampled_from([1, 2, 3, 4]), KEYS, st.integers(0, 3), st.integers(0, 6)),
    st.tuples(st.just(5), KEYS, st.integers(0, 1), st.integers(0, 1)),
)
STEPS = st.one_of(
    st.tuples(st.just(OP_PUT), KEYS, VALUES, LEASES),
    st.tuples(st.just(OP_DELETE), KEYS),
    st.tuples(st.just(OP_DELETE_RANGE), BOUNDS, ENDS),
    st.tuples(st.just(STEP_GET), KEYS),
    st.tuples(st.just(STEP_RANGE), BOUNDS, ENDS, st.integers(0, 3), st.integers(0, 1)),
)


def lists(steps: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    branch = st.lists(steps, max_size=3).map(tuple)
    return st.tuples(st.lists(COMPARISONS, max_size=2).map(tuple), branch, branch)


def possible(parts: Any) -> bool:
    try:
        check(*parts)
    except BadTransaction:
        return False
    return True


NESTED = lists(STEPS).map(lambda parts: (OP_TXN, *parts))
TRANSACTIONS = lists(STEPS | NESTED).filter(possible)


class Model:
    """The keys at every revision: key -> (value, create_revision, mod_revision, version, lease)."""

    def __init__(self) -> None:
        self.states: list[dict[bytes, tuple[bytes, int, int, int, int]]] = [{}]
        self.leases: dict[int, int] = {}
        self.next_lease = 1
        self.dropped = 0

    @property
    def revision(self) -> int:
        return len(self.states) - 1

    @property
    def now(self) -> dict[bytes, tuple[bytes, int, int, int, int]]:
        return self.states[-1]

    def change(self, puts: dict[bytes, tuple[bytes, int]], deletes: set[bytes]) -> None:
        """All of it at the next revision; nothing happens if there is nothing to change."""
        deletes = {key for key in deletes if key in self.now}
        if not puts and not deletes:
            return
        revision, state = self.revision + 1, dict(self.now)
        for key, (value, lease) in puts.items():
            _, created, _, version, had = state.get(key, (b"", revision, 0, 0, 0))
            state[key] = (value, created, revision, version + 1, had if lease == -1 else lease)
        for key in deletes:
            del state[key]
        self.states.append(state)

    def inside(self, start: bytes, end: bytes | None, revision: int | None = None) -> list[bytes]:
        state = self.now if revision is None else self.states[revision]
        return sorted(key for key in state if key >= start and (end is None or key < end))

    def attached(self, lease: int) -> list[bytes]:
        return sorted(key for key, record in self.now.items() if record[4] == lease)

    # One method for each operation; the result is that of the machine, without `detail`.

    def put(self, key: bytes, value: bytes, lease: int) -> OpResult:
        if lease > 0 and lease not in self.leases:
            return OpResult(LEASE_NOT_FOUND, 0, 0)
        if lease > 0 and key not in self.attached(lease) and len(self.attached(lease)) >= SMALL["lease_keys_max"]:
            return OpResult(TOO_LARGE, 0, len(self.attached(lease)))
        self.change({key: (value, lease)}, set())
        return OpResult(APPLIED, self.revision, self.now[key][3])

    def delete(self, key: bytes) -> OpResult:
        if key not in self.now:
            return OpResult(NOT_FOUND, self.revision, 0)
        self.change({}, {key})
        return OpResult(APPLIED, self.revision, 0)

    def delete_range(self, start: bytes, end: bytes | None) -> OpResult:
        keys = self.inside(start, end)
        if len(keys) > SMALL["changes_max"]:
            return OpResult(TOO_LARGE, 0, len(keys))
        self.change({}, set(keys))
        return OpResult(APPLIED, self.revision, len(keys))

    def end(self, lease: int) -> int:
        keys = self.attached(lease)
        self.change({}, set(keys))
        del self.leases[lease]
        return len(keys)

    # Transactions

    def holds(self, comparison: Any) -> bool:
        target, key, relation, to = comparison
        record = self.now.get(key)
        if target == 5:
            return (record is not None) == bool(to) if relation == 0 else (record is not None) != bool(to)
        if target == 0 and record is None:
            return False
        value, created, modified, version, lease = record or (b"", 0, 0, 0, 0)
        present: Any = [value, version, created, modified, lease][target]
        return bool([present == to, present != to, present < to, present > to][relation])

    def transact(self, parts: Any) -> tuple[OpResult | None, Any]:
        """The result, and the answers as `kvstore.model.transactions` describes them, stamps left out. If it may not be
        carried out: None, and the reasons.
        """
        taken: list[Any] = []
        chosen = self.choose(parts, taken)
        puts: dict[bytes, tuple[bytes, int]] = {}
        deletes: set[bytes] = set()
        for step in taken:
            if step[0] == OP_PUT:
                puts[step[1]] = (step[2], step[3])
            elif step[0] == OP_DELETE:
                deletes |= {step[1]} & set(self.now)
            elif step[0] == OP_DELETE_RANGE:
                deletes |= set(self.inside(step[1], step[2]))
        attached = {lease: len(self.attached(lease)) for lease in self.leases}
        refusals = []
        for _, lease in puts.values():
            if lease > 0:
                attached[lease] = attached.get(lease, 0) + 1
                if lease not in self.leases:
                    refusals.append(LEASE_NOT_FOUND)
                elif attached[lease] > SMALL["lease_keys_max"]:
                    refusals.append(TOO_LARGE)
        if len(puts) + len(deletes) > SMALL["changes_max"]:
            refusals.append(TOO_LARGE)
        if self.cost(chosen) > SMALL["answer_bytes_max"]:
            refusals.append(TOO_LARGE)
        if refusals:
            return None, refusals
        answers = self.answers(chosen, puts)
        self.change(puts, deletes)
        return OpResult(APPLIED, self.revision, int(chosen[0])), answers

    def choose(self, parts: Any, taken: list[Any]) -> Any:
        succeeded = all(self.holds(each) for each in parts[0])
        steps = []
        for step in parts[1] if succeeded else parts[2]:
            if step[0] == OP_TXN:
                steps.append(self.choose(step[1:], taken))
            else:
                taken.append(step)
                steps.append(step)
        return succeeded, steps

    def cost(self, chosen: Any) -> int:
        """What its answers count for: 80 bytes for each step and each record, and all keys of ranges and all values."""
        total = 0
        for step in chosen[1]:
            total += 80
            if isinstance(step[0], bool):
                total += self.cost(step)
            elif step[0] == STEP_GET and step[1] in self.now:
                total += 80 + len(self.now[step[1]][0])
            elif step[0] == STEP_RANGE:
                _, rows, _ = self.answer(step, {})
                total += sum(80 + len(row[0]) + len(row[1]) for row in rows)
        return total

    def answers(self, chosen: Any, puts: dict[bytes, tuple[bytes, int]]) -> Any:
        return [chosen[0], [self.answer(step, puts) for step in chosen[1]]]

    def answer(self, step: Any, puts: dict[bytes, tuple[bytes, int]]) -> Any:
        if isinstance(step[0], bool):
            return self.answers(step, puts)
        kind = step[0]
        if kind == OP_PUT:
            return self.now.get(step[1], (b"", 0, 0, 0, 0))[3] + 1
        if kind == OP_DELETE:
            return int(step[1] in self.now)
        if kind == OP_DELETE_RANGE:
            return len(self.inside(step[1], step[2]))
        if kind == STEP_GET:
            record = self.now.get(step[1])
            return None if record is None else list(record)
        keys = self.inside(step[1], step[2])
        ordered = keys[::-1] if step[4] else keys
        shown = ordered[: step[3]] if step[3] else ordered
        return [len(keys), [[key, *self.now[key]] for key in shown], len(shown) < len(keys)]


def without_stamps(answers: Any) -> Any:
    """What a transaction answered, with records as the model has them."""
    succeeded, steps = answers
    plain = []
    for step in steps:
        if isinstance(step, list) and step and isinstance(step[0], bool):
            plain.append(without_stamps(step))
        elif isinstance(step, list) and len(step) == 3:
            plain.append([step[0], [row[:-1] for row in step[1]], step[2]])
        elif isinstance(step, list):
            plain.append(step[:-1])
        else:
            plain.append(step)
    return [succeeded, plain]


class MachineAgainstStates(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.machine = small_machine(**SMALL)
        self.model = Model()

    def apply(self, op: Op) -> OpResult:
        (result,) = apply(self.machine, op)
        return result

    @rule(key=KEYS, value=VALUES, lease=LEASES)
    def put(self, key: bytes, value: bytes, lease: int) -> None:
        assert self.apply(put(key, value, lease=lease)) == self.model.put(key, value, lease)

    @rule(keys=st.lists(KEYS, min_size=2, max_size=5, unique=True), value=VALUES)
    def put_many(self, keys: list[bytes], value: bytes) -> None:
        """In an order that is not that of the keys."""
        steps = tuple((OP_PUT, key, value, 0) for key in keys)
        assert self.apply(transaction((), steps, ())).status == APPLIED
        self.model.change(dict.fromkeys(keys, (value, 0)), set())

    @rule(key=KEYS)
    def delete(self, key: bytes) -> None:
        assert self.apply(delete(key)) == self.model.delete(key)

    @rule(start=BOUNDS, end=ENDS)
    def delete_range(self, start: bytes, end: bytes | None) -> None:
        assert self.apply(delete_range(start, end)) == self.model.delete_range(start, end)

    @rule(ttl_ms=st.integers(1, 9))
    def grant(self, ttl_ms: int) -> None:
        result = self.apply(grant(ttl_ms))
        if len(self.model.leases) == SMALL["leases_max"]:
            assert result.status != APPLIED
            return
        assert result == OpResult(APPLIED, self.model.next_lease, 0)
        self.model.leases[self.model.next_lease] = ttl_ms
        self.model.next_lease += 1

    @rule(lease=st.integers(1, 5))
    def revoke(self, lease: int) -> None:
        if lease not in self.model.leases:
            assert self.apply(revoke(lease)) == OpResult(LEASE_NOT_FOUND, 0, 0)
            return
        result = self.apply(revoke(lease))
        ended = self.model.end(lease)
        assert result == OpResult(APPLIED, self.model.revision, ended)

    @rule(leases=st.lists(st.integers(1, 5), max_size=3, unique=True), stale=st.booleans())
    def expire(self, leases: list[int], stale: bool) -> None:
        term = self.machine.applied_term or 1
        result = self.apply(expire(term - stale, leases))
        if stale:
            assert result == OpResult(STALE_TERM, 0, 0)
            return
        there = [lease for lease in leases if lease in self.model.leases]
        for lease in there:
            self.model.end(lease)
        assert result == OpResult(APPLIED, self.model.revision, len(there))

    @rule(parts=TRANSACTIONS)
    def transact(self, parts: Any) -> None:
        before = self.machine.digest
        result = self.apply(transaction(*parts))
        expected, answers = self.model.transact(parts)
        if expected is None:
            assert result.status in answers
            assert self.machine.digest == before
            return
        assert result[:3] == expected[:3]
        assert without_stamps(msgpack.unpackb(result.detail)) == answers

    @rule(revision=st.integers(0, 40))
    def compact(self, revision: int) -> None:
        before = self.machine.compacted
        result = self.apply(compact(revision))
        if before < revision <= self.model.revision:
            assert result == OpResult(APPLIED, revision, 0)
            assert self.machine.compacted == revision
        else:
            assert result == OpResult(COMPACTED, before, 0)

    @rule()
    def restore(self) -> None:
        frames = list(self.machine.snapshot())
        self.machine = load(frames)
        assert list(self.machine.snapshot()) == frames

    @invariant()
    def the_present_and_every_revision_that_is_kept_are_those_of_the_model(self) -> None:
        machine, model = self.machine, self.model
        assert machine.revision == model.revision
        # What may be forgotten is bounded: revisions beyond the setting, and those whose tombstones were dropped.
        assert machine.revision - machine.compacted <= SMALL["history_revisions_max"]
        for revision in range(machine.compacted, model.revision + 1):
            state = model.states[revision]
            for key in (b"a", b"a\x00", b"ab", b"b", b"c", b"\xff", b"never"):
                assert plain(machine.get_at(key, revision)) == state.get(key), (key, revision)
            shown = machine.shown_at(revision)
            page, count, more = machine.range(b"", None, limit=100, bytes_max=1 << 20, shown=shown)
            assert {key: plain(record) for key, record in page} == state
            assert (count, more) == (len(state), None)
        if machine.compacted:
            self.refused_as_compacted(lambda at: machine.get_at(b"a", at))
            self.refused_as_compacted(lambda at: load(machine.snapshot()).shown_at(at))
            self.refused_as_compacted(lambda at: machine.changes(at, 1))

    def refused_as_compacted(self, ask: Callable[[int], Any]) -> None:
        with pytest.raises(Compacted) as refused:
            ask(self.machine.compacted - 1)
        assert refused.value.revision == self.machine.compacted

    @invariant()
    def the_changes_lead_from_each_revision_to_the_next(self) -> None:
        machine, model = self.machine, self.model
        begin = machine.compacted
        told = machine.changes(begin, 1_000)
        assert [change[:2] for change in told] == sorted(
            (revision, key)
            for revision in range(begin + 1, model.revision + 1)
            for key in model.states[revision].keys() | model.states[revision - 1].keys()
            if model.states[revision].get(key) != model.states[revision - 1].get(key)
        )
        for revision, key, after, before, _ in told:
            assert (after and after[:5]) == model.states[revision].get(key)
            assert (before and before[:5]) == model.states[revision - 1].get(key)
        for limit in (1, 2, 3):
            walked, at = [], begin
            while page := machine.changes(at, limit):
                walked += page
                at = page[-1][0]
                # A revision is never cut in two, and nothing more is added than what belongs to it.
                assert len(page) <= limit or page[limit - 1][0] == at
            assert walked == told

    @invariant()
    def leases_and_their_keys_are_those_of_the_model(self) -> None:
        leases = self.machine.leases
        assert {lease: leases.ttl_ms(lease) for lease in leases} == self.model.leases
        for lease in self.model.leases:
            assert leases.keys(lease) == self.model.attached(lease)


def plain(record: Any) -> Any:
    return None if record is None else tuple(record[:5])


MachineAgainstStates.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestMachineAgainstStates = MachineAgainstStates.TestCase


def test_a_machine_of_its_own_is_what_a_snapshot_is_loaded_into() -> None:
    """Two machines that came from one snapshot do not share anything."""
    machine = Machine()
    apply(machine, grant(5), put(b"k", b"v", lease=1))
    frames = list(machine.snapshot())
    one, two = load(frames), load(frames)
    apply(one, revoke(1))
    assert (one.get(b"k"), two.leases.keys(1)) == (None, [b"k"])
