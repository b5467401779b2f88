"""Opaque idempotency keys: rules I1 to I4 of kvstore/state/idempotency.py, seen through the machine."""

import pytest

from kvstore.model.commands import Origin, delete, put
from kvstore.model.results import (
    APPLIED,
    FULL,
    NOT_FOUND,
    ONCE_CONFLICT,
    PRECONDITION_FAILED,
    SUPERSEDED,
    OpResult,
)
from kvstore.state.machine import Machine
from tests.support.machines import apply, apply_intents, contents_of, intent_delete, intent_put, small_machine

CONFLICT = OpResult(ONCE_CONFLICT, 0, 0)
REFUSED = OpResult(FULL, 0, 0)


def origin(first_sequence: int = 1) -> Origin:
    return Origin("n2", 7, 0, first_sequence)


def test_the_same_request_gets_the_same_answer_and_is_executed_once() -> None:
    machine = Machine()
    writes = [
        put(b"k", b"a", 0, b"one"),
        put(b"k", b"b", 0, b"two"),
        delete(b"k", None, b"three"),
        delete(b"k", None, b"four"),
    ]
    first = apply(machine, *writes)
    assert [each.status for each in first] == [APPLIED, PRECONDITION_FAILED, APPLIED, NOT_FOUND]
    apply(machine, put(b"k", b"y"))
    before = (machine.revision, machine.digest)
    assert apply(machine, *reversed(writes), *writes) == [*first[::-1], *first]
    assert (machine.revision, machine.digest) == before


def test_another_request_under_a_key_is_a_conflict() -> None:
    machine = Machine()
    apply(machine, put(b"k", b"v", None, b"once"))
    others = [
        put(b"k", b"w", None, b"once"),
        put(b"kv", b"", None, b"once"),
        put(b"k", b"v", 0, b"once"),
        put(b"k", b"v", -1, b"once"),
        delete(b"k", None, b"once"),
    ]
    assert apply(machine, *others) == [CONFLICT] * len(others)
    assert machine.revision == 1


def test_a_key_is_remembered_for_its_window_counted_from_its_first_use() -> None:
    machine = small_machine(idempotency_window_ms=100)
    write = put(b"k", b"v", None, b"once")
    assert apply(machine, write, at=1_000) == [OpResult(APPLIED, 1, 1)]
    # Asking does not renew it.
    assert apply(machine, write, at=1_050) == [OpResult(APPLIED, 1, 1)]
    assert apply(machine, write, at=1_099) == [OpResult(APPLIED, 1, 1)]
    assert apply(machine, write, at=1_100) == [OpResult(APPLIED, 2, 2)]
    assert apply(machine, write, at=1_199) == [OpResult(APPLIED, 2, 2)]


def test_a_clock_that_jumps_back_does_not_shorten_the_window() -> None:
    machine = small_machine(idempotency_window_ms=100)
    apply(machine, at=1_000)
    write = put(b"k", b"v", None, b"once")
    apply(machine, write, at=500)
    assert apply(machine, write, at=1_099) == [OpResult(APPLIED, 1, 1)]
    assert apply(machine, write, at=1_100) == [OpResult(APPLIED, 2, 2)]


def test_a_full_table_refuses_new_keys_and_keeps_those_it_has() -> None:
    machine = small_machine(idempotency_keys_max=2, idempotency_window_ms=100)
    first = apply(machine, put(b"k", b"1", None, b"1"), put(b"k", b"2", None, b"2"), at=1_000)
    third = put(b"k", b"3", None, b"3")
    assert apply(machine, third, at=1_099) == [REFUSED]
    assert machine.revision == 2
    assert apply(machine, put(b"k", b"1", None, b"1"), put(b"k", b"2", None, b"2")) == first
    assert apply(machine, put(b"k", b"x")) == [OpResult(APPLIED, 3, 3)]
    assert apply(machine, third, at=1_100) == [OpResult(APPLIED, 4, 4)]
    assert machine.answers_kept == 1


def test_keys_and_sessions_have_bounds_of_their_own() -> None:
    machine = small_machine(idempotency_keys_max=1, answers_max=1)
    apply(machine, (2,))
    results = apply(machine, put(b"k", b"v", None, b"once"), put(b"k", b"w", None, (1, 1, 1)))
    assert [each.status for each in results] == [APPLIED, APPLIED]
    assert machine.answers_kept == 2


def test_an_intent_is_remembered_above_the_bound() -> None:
    machine = small_machine(idempotency_keys_max=1)
    apply(machine, put(b"k", b"1", None, b"1"), at=1_000)
    intents = [intent_put(b"k", b"2", 1_001, 0, b"2"), intent_delete(b"k", 1_002, 0, b"3")]
    assert apply_intents(machine, origin(), *intents, at=1_000) == [OpResult(APPLIED, 2, 2), OpResult(APPLIED, 3, 0)]
    assert machine.answers_kept == 3
    assert apply(machine, put(b"k", b"2", None, b"2"), delete(b"k", None, b"3"), put(b"k", b"4", None, b"4")) == [
        OpResult(APPLIED, 2, 2),
        OpResult(APPLIED, 3, 0),
        REFUSED,
    ]


def test_two_nodes_that_hold_one_key_execute_it_once() -> None:
    machine = Machine()
    one = apply_intents(machine, Origin("n2", 7, 0, 1), intent_put(b"k", b"v", 1_000, 0, b"once"), at=1_000)
    other = apply_intents(machine, Origin("n3", 8, 0, 1), intent_put(b"k", b"v", 1_005, 3, b"once"), at=1_010)
    assert one == other == [OpResult(APPLIED, 1, 1)]
    assert machine.mark("n3") == (8, 1)
    assert machine.intent_result("n3", 8, 1) == OpResult(APPLIED, 1, 0)
    different = apply_intents(machine, Origin("n4", 9, 0, 1), intent_put(b"k", b"w", 1_020, 0, b"once"), at=1_020)
    assert different == [CONFLICT]
    assert machine.intent_result("n4", 9, 1) == CONFLICT
    assert machine.revision == 1


def test_an_intent_and_a_clients_write_share_their_keys() -> None:
    machine = Machine()
    apply(machine, delete(b"absent", None, b"gone"), put(b"k", b"v", 0, b"conditional"), at=1_000)
    results = apply_intents(
        machine,
        origin(),
        intent_delete(b"absent", 1_001, 0, b"gone"),
        intent_put(b"k", b"v", 1_001, 0, b"conditional"),
        at=1_000,
    )
    # With a condition it was another request.
    assert results == [OpResult(NOT_FOUND, 0, 0), CONFLICT]
    assert machine.tombstone_count == 0
    assert machine.intent_result("n2", 7, 1) == OpResult(NOT_FOUND, 0, 0)


def test_a_superseded_intent_stays_superseded_under_its_key() -> None:
    machine = Machine()
    apply(machine, put(b"k", b"new"), at=1_000)
    assert apply_intents(machine, origin(), intent_put(b"k", b"old", 900, 0, b"once"), at=1_000) == [
        OpResult(SUPERSEDED, 0, 0)
    ]
    assert apply(machine, put(b"k", b"old", None, b"once")) == [OpResult(SUPERSEDED, 0, 0)]
    assert machine.revision == 1


def test_keys_of_intents_expire_by_the_time_of_their_entry() -> None:
    machine = small_machine(idempotency_window_ms=100, clock_drift_ms_max=1_000)
    apply_intents(machine, origin(), intent_put(b"k", b"v", 400, 0, b"once"), at=1_000)
    apply(machine, at=1_099)
    assert machine.answers_kept == 1
    apply(machine, at=1_100)
    assert machine.answers_kept == 0


@pytest.mark.parametrize("keys", [5_000])
def test_many_keys_come_and_go_in_the_order_of_their_age(keys: int) -> None:
    machine = small_machine(idempotency_window_ms=1_000)
    for number in range(keys):
        apply(machine, put(b"k", b"v", None, b"%d" % number), at=10_000 + number)
        assert machine.answers_kept == min(number + 1, 1_000)
    kept = contents_of(machine.snapshot())["idempotency_keys"]
    assert [row[0] for row in kept] == [b"%d" % number for number in range(keys - 1_000, keys)]
