"""Sessions: rules S1 to S5 of kvstore/state/sessions.py, seen through the machine."""

import random

import pytest

from kvstore.model.commands import Op, close_session, delete, open_session, put
from kvstore.model.results import (
    APPLIED,
    EXPIRED,
    FULL,
    NOT_FOUND,
    ONCE_CONFLICT,
    PRECONDITION_FAILED,
    OpResult,
)
from kvstore.state.machine import Machine
from tests.support.machines import apply, small_machine

GONE = [OpResult(EXPIRED, 0, 0)]
REFUSED = [OpResult(FULL, 0, 0)]


def opened(machine: Machine, at: int = 0) -> int:
    (result,) = apply(machine, open_session(), at=at)
    assert result.status == APPLIED
    return result.revision


def test_numbers_rise_and_none_is_given_again_after_a_close() -> None:
    machine = Machine()
    assert [opened(machine), opened(machine)] == [1, 2]
    assert apply(machine, close_session(2), close_session(2)) == [OpResult(APPLIED, 0, 0), OpResult(NOT_FOUND, 0, 0)]
    assert opened(machine) == 3
    assert (machine.sessions_open, machine.revision, machine.digest) == (2, 0, 0)


@pytest.mark.parametrize("number", [0, 1, 2, 2**64 - 1])
def test_a_session_that_was_closed_or_never_opened_executes_nothing(number: int) -> None:
    machine = Machine()
    apply(machine, close_session(opened(machine)))
    assert apply(machine, put(b"k", b"v", once=(number, 1, 1))) == GONE
    assert (len(machine), machine.revision) == (0, 0)


def test_a_session_lives_through_its_window_and_ends_with_it() -> None:
    for late, expected in ((99, OpResult(APPLIED, 1, 1)), (100, GONE[0])):
        machine = small_machine(session_window_ms=100)
        session = opened(machine, at=1_000)
        assert apply(machine, put(b"k", b"v", once=(session, 1, 1)), at=1_000 + late) == [expected]
        assert machine.sessions_open == (expected.status == APPLIED)


def test_every_use_renews_a_session_even_one_that_executes_nothing() -> None:
    machine = small_machine(session_window_ms=100)
    session = opened(machine, at=1_000)
    apply(machine, put(b"k", b"v", once=(session, 2, 2)), at=1_090)
    apply(machine, put(b"k", b"v", once=(session, 2, 2)), at=1_180)
    apply(machine, put(b"k", b"v", once=(session, 1, 2)), at=1_270)
    assert apply(machine, put(b"k", b"w", once=(session, 2, 2)), at=1_360) == [OpResult(ONCE_CONFLICT, 0, 0)]
    assert machine.sessions_open == 1


def test_sessions_expire_in_the_order_of_their_last_use_at_any_entry() -> None:
    machine = small_machine(session_window_ms=100)
    first, second = opened(machine, at=1_000), opened(machine, at=1_010)
    apply(machine, put(b"k", b"v", once=(first, 1, 1)), at=1_050)
    apply(machine, at=1_110)
    assert machine.sessions_open == 1
    assert apply(machine, put(b"k", b"v", once=(second, 1, 1))) == GONE
    assert apply(machine, put(b"k", b"v", once=(first, 1, 1))) == [OpResult(APPLIED, 1, 1)]


def test_a_clock_that_jumps_back_expires_nothing_and_makes_nothing_younger() -> None:
    machine = small_machine(session_window_ms=100)
    session = opened(machine, at=1_000)
    apply(machine, put(b"k", b"v", once=(session, 1, 1)), at=10)
    assert machine.last_stamp.ms == 1_000
    apply(machine, at=1_099)
    assert machine.sessions_open == 1
    apply(machine, at=1_100)
    assert machine.sessions_open == 0


def test_a_repetition_gets_the_first_answer_whatever_has_changed_since() -> None:
    machine = Machine()
    session = opened(machine)
    writes = [
        put(b"k", b"a", 0, (session, 1, 1)),
        put(b"k", b"b", 0, (session, 2, 1)),
        delete(b"k", 1, (session, 3, 1)),
        delete(b"k", None, (session, 4, 1)),
    ]
    first = apply(machine, *writes)
    assert [each.status for each in first] == [APPLIED, PRECONDITION_FAILED, APPLIED, NOT_FOUND]
    apply(machine, put(b"other", b"x"), put(b"k", b"y"))
    before = (machine.revision, machine.digest)
    assert apply(machine, *reversed(writes)) == first[::-1]
    assert apply(machine, *writes) == first
    assert (machine.revision, machine.digest) == before


def test_a_repetition_in_the_same_entry_is_known_too() -> None:
    machine = Machine()
    write = put(b"k", b"v", once=(opened(machine), 1, 1))
    assert apply(machine, write, write, write) == [OpResult(APPLIED, 1, 1)] * 3
    assert machine.revision == 1


def test_another_request_under_a_sequence_is_a_conflict() -> None:
    machine = Machine()
    session = opened(machine)
    name = (session, 1, 1)
    apply(machine, put(b"k", b"v", None, name))
    others = [
        put(b"k", b"w", None, name),
        put(b"kv", b"", None, name),
        put(b"k", b"v", -1, name),
        put(b"k", b"v", 1, name),
        delete(b"k", None, name),
    ]
    assert apply(machine, *others) == [OpResult(ONCE_CONFLICT, 0, 0)] * len(others)
    assert machine.revision == 1
    assert apply(machine, put(b"k", b"v", None, name)) == [OpResult(APPLIED, 1, 1)]


def test_sessions_do_not_share_sequences() -> None:
    machine = Machine()
    one, other = opened(machine), opened(machine)
    assert apply(machine, put(b"k", b"1", once=(one, 1, 1)), put(b"k", b"2", once=(other, 1, 1))) == [
        OpResult(APPLIED, 1, 1),
        OpResult(APPLIED, 2, 2),
    ]


def test_sequences_may_come_in_any_order_above_the_floor() -> None:
    machine = Machine()
    session = opened(machine)
    results = [apply(machine, put(b"k", b"%d" % each, once=(session, each, 1)))[0] for each in (5, 2, 9, 1)]
    assert [each.revision for each in results] == [1, 2, 3, 4]


@pytest.mark.parametrize("answers", [3, 40])
def test_what_lies_below_the_floor_is_forgotten_and_never_executed(answers: int) -> None:
    machine = Machine()
    session = opened(machine)
    for sequence in range(1, answers + 1):
        apply(machine, put(b"k", b"v", once=(session, sequence, 1)))
    assert machine.answers_kept == answers
    floor = answers - 1
    assert apply(machine, put(b"k", b"v", once=(session, answers, floor))) == [OpResult(APPLIED, answers, answers)]
    assert machine.answers_kept == 2
    # The floor does not sink again, and sequences without an answer below it count as answered.
    for sequence in (1, floor - 1):
        assert apply(machine, put(b"k", b"v", once=(session, sequence, 1))) == GONE
    assert apply(machine, put(b"k", b"v", once=(session, 0, 0))) == GONE
    assert machine.revision == answers


def test_a_write_below_its_own_floor_is_not_executed() -> None:
    machine = Machine()
    session = opened(machine)
    assert apply(machine, put(b"k", b"v", once=(session, 4, 5))) == GONE
    assert apply(machine, put(b"k", b"v", once=(session, 4, 1))) == GONE
    assert apply(machine, put(b"k", b"v", once=(session, 5, 1))) == [OpResult(APPLIED, 1, 1)]


def test_the_answers_of_one_session_are_bounded_and_none_is_forgotten_for_another() -> None:
    machine = small_machine(session_answers_max=3)
    one, other = opened(machine), opened(machine)
    writes = [put(b"k", b"v", once=(one, sequence, 1)) for sequence in (1, 2, 3, 4)]
    first = apply(machine, *writes)
    assert [each.status for each in first] == [APPLIED, APPLIED, APPLIED, FULL]
    assert apply(machine, *writes) == first
    assert apply(machine, put(b"k", b"v", once=(other, 1, 1)))[0].status == APPLIED
    # What was refused was not executed: the same write goes through once there is room.
    assert apply(machine, put(b"k", b"v", once=(one, 4, 2))) == [OpResult(APPLIED, 5, 5)]


def test_the_answers_of_all_sessions_are_bounded() -> None:
    machine = small_machine(answers_max=3)
    one, other = opened(machine), opened(machine)
    apply(machine, *(put(b"k", b"v", once=(one, sequence, 1)) for sequence in (1, 2, 3)))
    assert apply(machine, put(b"k", b"w", once=(other, 1, 1))) == REFUSED
    assert apply(machine, put(b"k", b"v", once=(one, 1, 1))) == [OpResult(APPLIED, 1, 1)]
    apply(machine, close_session(one))
    assert machine.answers_kept == 0
    assert apply(machine, put(b"k", b"w", once=(other, 1, 1))) == [OpResult(APPLIED, 4, 4)]


def test_answers_of_expired_sessions_make_room() -> None:
    machine = small_machine(answers_max=2, session_window_ms=100)
    old = opened(machine, at=1_000)
    apply(machine, put(b"k", b"v", once=(old, 1, 1)), put(b"k", b"v", once=(old, 2, 1)), at=1_000)
    young = opened(machine, at=1_050)
    assert apply(machine, put(b"k", b"v", once=(young, 1, 1)), at=1_099) == REFUSED
    assert apply(machine, put(b"k", b"v", once=(young, 1, 1)), at=1_100)[0].status == APPLIED
    assert machine.answers_kept == 1


def test_a_session_that_never_had_an_answer_makes_room_for_a_new_one() -> None:
    machine = small_machine(sessions_max=2)
    used, unused = opened(machine), opened(machine)
    apply(machine, put(b"k", b"v", once=(used, 1, 1)))
    assert opened(machine) == 3
    assert apply(machine, put(b"k", b"v", once=(unused, 1, 1)))[0].status == EXPIRED
    assert apply(machine, put(b"k", b"v", once=(used, 2, 2)))[0].status == APPLIED


def test_few_sessions_cannot_keep_out_all_others() -> None:
    machine = small_machine(answers_max=64, session_answers_max=32)
    greedy = opened(machine)
    held = [apply(machine, put(b"k", b"v", once=(greedy, number, 1)))[0].status for number in range(1, 41)]
    assert held.count(APPLIED) == 32
    others = [opened(machine) for _ in range(3)]
    got = [
        [apply(machine, put(b"k", b"v", once=(other, number, 1)))[0].status for number in range(1, 33)].count(APPLIED)
        for other in others
    ]
    assert got == [16, 16, 0]


def test_the_number_of_sessions_is_bounded() -> None:
    machine = small_machine(sessions_max=2, session_window_ms=100)
    first, second = opened(machine, at=1_000), opened(machine, at=1_050)
    assert apply(machine, put(b"k", b"v", once=(first, 1, 1)), put(b"k", b"v", once=(second, 1, 1)), at=1_055)
    assert apply(machine, open_session(), at=1_060) == REFUSED
    assert apply(machine, put(b"k", b"v", once=(first, 2, 2)))[0].status == APPLIED
    assert apply(machine, close_session(second), open_session()) == [OpResult(APPLIED, 3, 0), OpResult(APPLIED, 3, 0)]
    # The window of the first began anew with its use at 1,060.
    assert opened(machine, at=1_160) == 4


def test_at_twenty_thousand_writes_a_second_every_write_counts_once_and_little_is_kept() -> None:
    """Five seconds of log time with the default settings, in entries of 100 writes. One write in 50 is sent again, one
    or two entries later.
    """
    machine, rng = Machine(), random.Random(5)
    sessions = [opened(machine) for _ in range(4)]
    again: dict[int, list[tuple[Op, OpResult]]] = {}
    kept_max = repeated = 0
    for entry in range(1_000):
        turn, place = divmod(entry, len(sessions))
        session, floor = sessions[place], 100 * turn + 1
        writes = [put(b"count/%d" % session, b"", once=(session, floor + k, floor)) for k in range(100)]
        results = apply(machine, *writes, at=5 * entry)
        assert {result.status for result in results} == {APPLIED}
        kept_max = max(kept_max, machine.answers_kept)
        for op, result in again.pop(entry, ()):
            repeated += 1
            assert apply(machine, op, at=5 * entry) == [result]
        for k in rng.sample(range(100), 2):
            again.setdefault(entry + rng.choice((1, 2)), []).append((writes[k], results[k]))
    assert repeated > 1_900
    assert [machine.get(b"count/%d" % session).version for session in sessions] == [25_000] * len(sessions)
    assert kept_max <= 100 * len(sessions)


def test_keys_are_refused_at_that_rate_once_their_table_is_full_and_none_is_forgotten() -> None:
    machine = Machine()
    taken = sum(
        result.status == APPLIED
        for entry in range(1_010)
        for result in apply(machine, *(put(b"k", b"", once=b"%d/%d" % (entry, k)) for k in range(100)), at=5_000)
    )
    assert taken == machine.settings["idempotency_keys_max"]
