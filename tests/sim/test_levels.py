"""Directed schedules of the levels: what docs/consistency.md promises of ONE, QUORUM and ALL, and of clocks."""

import asyncio
from contextlib import nullcontext

import pytest

from kvjepsen.mutants import MUTANTS
from kvstore.consensus.messages import SnapshotChunk
from kvstore.errors import DeadlineExceeded, Divergence, KvError, MembersUnreachable, PreconditionFailed
from kvstore.model.commands import MUST_BE_ABSENT
from kvstore.model.results import Receipt
from kvstore.node.alarms import CLOCK_DRIFT, DIVERGENCE
from kvstore.testing import SimCluster
from tests.support.sim_levels import (
    ALL,
    NODES,
    ONE,
    QUORUM,
    alarms,
    asked,
    heal,
    isolate,
    leader_and_followers,
    others,
    read,
    receipt,
    running,
    states,
    value,
    values,
    write,
    write_one,
)

# -- ONE against the rest


@pytest.mark.parametrize("away_leads", [False, True])
def test_a_one_write_that_comes_too_late_is_superseded_and_its_receipt_says_so(cluster, away_leads) -> None:
    leader, near, _ = leader_and_followers(cluster)
    away = leader if away_leads else near
    write(cluster, leader, b"color", b"green", ALL)
    isolate(cluster, away)
    late = write_one(cluster, away, b"color", b"red")
    assert value(cluster, away, b"color", ONE) == b"red", "its own node shows it meanwhile"
    assert receipt(cluster, away, late).state == "pending"
    for name in others(away):
        with pytest.raises(MembersUnreachable):
            receipt(cluster, name, late)  # down is not lost
    cluster.run_for(3.0)
    blue = write(cluster, others(away)[0], b"color", b"blue")
    heal(cluster)
    assert values(cluster, b"color") == [b"blue"] * 3
    assert read(cluster, away, b"color").record.mod_revision == blue.revision
    assert [receipt(cluster, name, late) for name in NODES] == [Receipt(late, ONE, "superseded", None, None)] * 3
    assert cluster.converged()


def test_a_one_write_made_later_wins_although_its_node_had_not_seen_the_other(cluster) -> None:
    leader, away, _ = leader_and_followers(cluster)
    isolate(cluster, away)
    write(cluster, leader, b"color", b"blue")
    cluster.run_for(3.0)
    red = write_one(cluster, away, b"color", b"red")
    heal(cluster)
    assert values(cluster, b"color") == [b"red"] * 3
    assert states(cluster, red) == ["committed"] * 3


def test_a_key_deleted_on_the_other_side_is_not_resurrected(cluster) -> None:
    leader, away, _ = leader_and_followers(cluster)
    write(cluster, leader, b"color", b"green", ALL)
    isolate(cluster, away)
    late = write_one(cluster, away, b"color", b"red")
    cluster.run_for(3.0)
    deleted = write(cluster, leader, b"color", None)
    heal(cluster)
    assert values(cluster, b"color", QUORUM) == [None] * 3
    assert values(cluster, b"color", ONE) == [None] * 3
    assert states(cluster, late) == ["superseded"] * 3
    assert running(cluster, leader).machine.revision == deleted.revision


def test_a_late_one_delete_does_not_delete_what_was_written_after_it(cluster) -> None:
    leader, away, _ = leader_and_followers(cluster)
    write(cluster, leader, b"color", b"green", ALL)
    isolate(cluster, away)
    late = write_one(cluster, away, b"color", None)
    absent = write_one(cluster, away, b"never there", None)
    assert value(cluster, away, b"color", ONE) is None
    cluster.run_for(3.0)
    write(cluster, leader, b"color", b"blue")
    heal(cluster)
    assert values(cluster, b"color") == [b"blue"] * 3
    assert states(cluster, late) == ["superseded"] * 3
    assert states(cluster, absent) == ["committed"] * 3, "it left a tombstone"


@pytest.mark.parametrize("power_goes", [False, True])
def test_a_one_write_on_the_only_node_alive_is_committed_once_the_others_return(cluster, power_goes) -> None:
    leader, alone, far = leader_and_followers(cluster)
    cluster.power_off(leader)
    cluster.kill(far)
    cluster.run_for(3.0)
    receipts = [write_one(cluster, alone, b"k%d" % number, b"v%d" % number) for number in range(5)]
    with pytest.raises(KvError) as refused:
        write(cluster, alone, b"k", b"v")
    assert (refused.value.status, refused.value.outcome) == (503, "not_applied")
    if power_goes:
        cluster.power_off(alone, lambda _states: 0)
        cluster.start(alone)
        cluster.run_for(0.5)
    assert [receipt(cluster, alone, each).state for each in receipts] == ["pending"] * 5
    cluster.start_all()
    cluster.run_for(3.0)
    assert [states(cluster, each) for each in receipts] == [["committed"] * 3] * 5
    revisions = [receipt(cluster, far, each).revision for each in receipts]
    assert revisions == [1, 2, 3, 4, 5], "in their order, each once"
    for number in range(5):
        assert values(cluster, b"k%d" % number, QUORUM) == [b"v%d" % number] * 3


# -- ALL


def all_after_one(cluster: SimCluster, rounds: int = 20) -> list[tuple[bytes | None, bytes]]:
    """What ONE reads at every node showed right after a write at level ALL, where it was not that write's value. Before
    it, every node had acknowledged another one at level ONE, stamped by a clock that is ahead.
    """
    wrong = []
    leader, near, far = leader_and_followers(cluster)
    for name in (near, far):
        cluster.processes[name].clock.jump_ms += 400
    for number in range(rounds):
        key, last = b"k%d" % number, b"all %d" % number
        for name in (near, far):
            write_one(cluster, name, key, b"one %d" % number)
        write(cluster, (leader, near, far)[number % 3], key, last, ALL)
        wrong += [(shown, last) for shown in values(cluster, key) if shown != last]
    return wrong


def test_after_a_write_at_level_all_no_node_shows_an_older_pending_one(cluster) -> None:
    assert all_after_one(cluster) == []


def test_without_the_drain_one_is_shown(cluster) -> None:
    with MUTANTS["no-drain"]():
        assert all_after_one(cluster) != []


def all_reads_after_one(cluster: SimCluster) -> list[int]:
    """The rounds in which a read at level ALL missed a write at level ONE that another node had acknowledged."""
    missed = []
    for number in range(24):
        writer, reader = NODES[number % 3], NODES[(number + 1 + number // 3 % 2) % 3]
        write_one(cluster, writer, b"k", b"%d" % number)
        if value(cluster, reader, b"k", ALL) != b"%d" % number:
            missed.append(number)
    return missed


def test_a_read_at_level_all_shows_what_another_node_had_acknowledged_at_level_one(cluster) -> None:
    assert all_reads_after_one(cluster) == []


def test_without_the_drain_it_misses_some(cluster) -> None:
    with MUTANTS["no-drain"]():
        assert all_reads_after_one(cluster) != []


def test_level_all_is_refused_while_a_voter_cannot_be_reached_and_nothing_is_applied(cluster) -> None:
    leader, near, away = leader_and_followers(cluster)
    isolate(cluster, away)
    cluster.run_for(2.0)
    for name in (leader, near):
        with pytest.raises(MembersUnreachable) as refused:
            write(cluster, name, b"k", b"v", ALL)
        assert (refused.value.outcome, refused.value.missing) == ("not_applied", (away,))
        with pytest.raises(MembersUnreachable) as unread:
            read(cluster, name, b"k", ALL)
        assert (unread.value.outcome, unread.value.missing) == (None, (away,))
    heal(cluster)
    assert running(cluster, leader).machine.revision == 0


def test_a_voter_that_falls_silent_after_the_drain_makes_it_504_committed_with_its_name(cluster) -> None:
    leader, _, away = leader_and_followers(cluster)
    under_way = asked(cluster, leader, b"k", b"v", ALL, timeout_s=1.0)
    until = cluster.time.now + 1.0
    while running(cluster, leader).engine.status().last_index == running(cluster, away).engine.status().last_index:
        cluster.run_for(0.0002)
        assert cluster.time.now < until
    cluster.pause(away)
    with pytest.raises(DeadlineExceeded) as told:
        cluster.run(under_way)
    assert (told.value.outcome, told.value.missing) == ("committed", (away,))
    cluster.resume(away)
    cluster.run_for(3.0)
    assert values(cluster, b"k") == [b"v"] * 3


def alter(cluster: SimCluster, name: str, key: bytes, altered: bytes) -> None:
    """Change a record in the memory of `name`, and nothing else: as a bit that flips."""
    records = running(cluster, name).machine._contents.records
    raw = records.get(key)
    assert raw is not None
    records.put(key, (altered, *raw[1:]))


@pytest.mark.parametrize("place", range(3))
def test_a_record_altered_on_one_replica_is_found_by_a_read_at_level_all_and_every_node_shows_the_alarm(
    cluster, place
) -> None:
    write(cluster, "n1", b"k", b"right", ALL)
    write(cluster, "n1", b"other", b"right", ALL)
    altered = leader_and_followers(cluster)[place]
    alter(cluster, altered, b"k", b"wrong")
    assert [value(cluster, name, b"other", ALL) for name in NODES] == [b"right"] * 3
    assert [alarms(cluster, name) for name in NODES] == [set()] * 3
    for name in NODES:
        with pytest.raises(Divergence) as found:
            read(cluster, name, b"k", ALL)
        assert (found.value.status, found.value.exit_code, found.value.outcome) == (500, 8, None)
        assert altered in found.value.detail
    for name in NODES:
        assert {code for code, _ in alarms(cluster, name)} == {DIVERGENCE}
    # A write puts it right.
    write(cluster, "n2", b"k", b"right again", ALL)
    assert [value(cluster, name, b"k", ALL) for name in NODES] == [b"right again"] * 3


# -- clocks


@pytest.mark.parametrize("jump_ms", [5_000, -5_000])
def test_a_leader_with_a_wrong_clock_hands_over_and_an_alarm_stands_until_it_is_right(cluster, jump_ms) -> None:
    wrong = cluster.leader()
    elections = cluster.invariants.elections_total
    cluster.processes[wrong].clock.jump_ms = jump_ms
    cluster.run_for(4.0)
    assert cluster.leader() != wrong
    assert cluster.invariants.elections_total == elections + 1
    assert [alarms(cluster, name) for name in NODES] == [{(CLOCK_DRIFT, wrong)}] * 3
    write(cluster, wrong, b"k", b"v", ALL)
    cluster.processes[wrong].clock.jump_ms = 0
    cluster.run_for(4.0)
    assert [alarms(cluster, name) for name in NODES] == [set()] * 3


def test_a_follower_with_a_wrong_clock_raises_an_alarm_and_nothing_moves(cluster) -> None:
    leader, near, _ = leader_and_followers(cluster)
    elections = cluster.invariants.elections_total
    cluster.processes[near].clock.jump_ms = 5_000
    cluster.run_for(4.0)
    assert [alarms(cluster, name) for name in NODES] == [{(CLOCK_DRIFT, near)}] * 3
    assert (cluster.leader(), cluster.invariants.elections_total) == (leader, elections)
    # Whoever leads next looks for itself; what the old leader had found does not stand for ever.
    cluster.run(cluster.call(leader, lambda node: node.transfer_leader(others(leader, near)[0], timeout_s=2.0)))
    cluster.run_for(2.0)
    assert [alarms(cluster, name) for name in NODES] == [{(CLOCK_DRIFT, near)}] * 3
    cluster.processes[near].clock.jump_ms = 0
    cluster.run_for(4.0)
    assert [alarms(cluster, name) for name in NODES] == [set()] * 3


def test_writes_through_a_leader_whose_clock_was_far_ahead_leave_nothing_that_cannot_be_overwritten(cluster) -> None:
    ahead = cluster.leader()
    write(cluster, ahead, b"k", b"before")
    cluster.processes[ahead].clock.jump_ms = 5_000
    write(cluster, ahead, b"k", b"from the future")
    cluster.run_for(4.0)
    write(cluster, ahead, b"k", b"quorum")
    assert value(cluster, ahead, b"k") == b"quorum"
    for name in NODES:
        told = write_one(cluster, name, b"k", b"one at %s" % name.encode())
        cluster.run_for(1.0)
        assert states(cluster, told) == ["committed"] * 3, "its node had applied what it overwrites"
        assert values(cluster, b"k") == [b"one at %s" % name.encode()] * 3


# -- staleness


class Counting:
    """Writes numbers to one key, one after the other, and knows when each was acknowledged."""

    def __init__(self, cluster: SimCluster, name: str) -> None:
        self._cluster, self._name = cluster, name
        self._acknowledged: list[tuple[float, int]] = []
        self._task = cluster.loop.create_task(self._run())

    async def _run(self) -> None:
        number = 0
        while True:
            number += 1
            try:
                await asked(self._cluster, self._name, b"n", b"%d" % number)
            except KvError:
                continue
            self._acknowledged.append((self._cluster.time.now, number))
            await asyncio.sleep(0.02)

    def by(self, at_s: float) -> int:
        """The last number that was acknowledged by then."""
        return max((number for when, number in self._acknowledged if when <= at_s), default=0)

    def stop(self) -> None:
        self._task.cancel()


def bounded_reads(
    cluster: SimCluster, counting: Counting, name: str, staleness_s: float, times: int = 30
) -> tuple[int, int]:
    """How many reads at `name` with that bound were answered, and how many of those were staler than that."""
    answered = stale = 0
    for _ in range(times):
        began_s = cluster.time.now
        try:
            shown = value(cluster, name, b"n", ONE, max_staleness_s=staleness_s, timeout_s=0.2)
        except DeadlineExceeded:
            cluster.run_for(0.05)
            continue
        answered += 1
        stale += int(shown or b"0") < counting.by(began_s - staleness_s)
        cluster.run_for(0.05)
    return answered, stale


@pytest.fixture
def counting(cluster):
    made = Counting(cluster, cluster.leader())
    yield made
    made.stop()


def test_a_bounded_read_is_answered_at_once_where_the_link_is_good(cluster, counting) -> None:
    cluster.run_for(1.0)
    for name in NODES:
        assert bounded_reads(cluster, counting, name, 0.3) == (30, 0)


def test_what_stalls_and_is_released_late_is_never_taken_for_fresh(cluster, counting) -> None:
    leader, near, _ = leader_and_followers(cluster)
    cluster.run_for(1.0)
    for stall_s in (0.1, 0.3, 0.6, 1.0, 2.0):
        cluster.network.block(leader, near)
        cluster.run_for(stall_s)
        began_s = cluster.time.now
        waiting = cluster.call(near, lambda node: node.get(b"n", level=ONE, max_staleness_s=0.15, timeout_s=3.0))
        cluster.run_for(0.05)
        cluster.network.heal(leader, near)
        shown = cluster.run(waiting).record
        assert int(shown.value) >= counting.by(began_s - 0.15)
        assert bounded_reads(cluster, counting, near, 0.15, 10)[1] == 0
    cluster.run_for(1.0)
    assert bounded_reads(cluster, counting, near, 0.15) == (30, 0)


@pytest.mark.parametrize("mutant", [None, "delay-is-free"])
def test_messages_that_take_a_second_make_no_state_fresher_than_a_second(cluster, counting, mutant) -> None:
    leader, near, _ = leader_and_followers(cluster)
    with nullcontext() if mutant is None else MUTANTS[mutant]():
        cluster.network.extra_s[leader, near] = 1.0
        cluster.run_for(4.0)
        answered, stale = bounded_reads(cluster, counting, near, 0.5)
        if mutant is not None:
            assert stale > 0
            return
        assert answered == 0, "it cannot know"
        answered, stale = bounded_reads(cluster, counting, near, 1.5)
        assert (answered, stale) == (30, 0)
        cluster.network.extra_s.clear()
        cluster.run_for(2.0)
        assert bounded_reads(cluster, counting, near, 0.5) == (30, 0)


@pytest.mark.parametrize("away_leads", [False, True])
def test_a_bounded_read_on_an_isolated_node_is_refused_with_504_and_an_unbounded_one_is_not(
    cluster, away_leads
) -> None:
    leader, near, _ = leader_and_followers(cluster)
    away = leader if away_leads else near
    write(cluster, leader, b"k", b"old", ALL)
    isolate(cluster, away)
    cluster.run_for(2.0)
    write(cluster, others(away)[0], b"k", b"new")
    with pytest.raises(DeadlineExceeded) as refused:
        read(cluster, away, b"k", ONE, max_staleness_s=1.0, timeout_s=0.5)
    assert (refused.value.status, refused.value.outcome) == (504, None)
    assert value(cluster, away, b"k", ONE) == b"old"
    assert value(cluster, others(away)[0], b"k", ONE, max_staleness_s=1.0) == b"new"
    heal(cluster)
    assert value(cluster, away, b"k", ONE, max_staleness_s=0.5) == b"new"


def test_a_read_that_names_a_revision_waits_for_it(cluster) -> None:
    leader, near, _ = leader_and_followers(cluster)
    isolate(cluster, near)
    revision = write(cluster, leader, b"k", b"v").revision
    with pytest.raises(DeadlineExceeded):
        read(cluster, near, b"k", ONE, min_revision=revision, timeout_s=0.3)
    waiting = cluster.call(near, lambda node: node.get(b"k", level=ONE, min_revision=revision, timeout_s=5.0))
    cluster.run_for(0.5)
    assert not waiting.done()
    cluster.network.heal_all()
    assert cluster.run(waiting).record.value == b"v"


# -- repetitions


def test_a_repetition_is_answered_by_a_leader_that_knows_the_first_answer_from_a_snapshot_only(cluster) -> None:
    leader, away, _ = leader_and_followers(cluster)
    session = cluster.run(cluster.call(leader, lambda node: node.open_session(timeout_s=2.0)))
    names = [(session, 1, 1), (session, 2, 1), (session, 3, 1), b"a key"]
    first = [
        write(cluster, leader, b"counter", b"1", condition=MUST_BE_ABSENT, once=names[0]),
        write(cluster, leader, b"gone", b"1", once=names[1]),
        write(cluster, leader, b"gone", None, once=names[2]),
        write(cluster, leader, b"keyed", b"1", once=names[3]),
    ]
    one = write_one(cluster, leader, b"one", b"1", once=b"a key of level one")
    cluster.run_for(1.0)
    cluster.kill(away)
    for number in range(400):
        write(cluster, leader, b"k%d" % (number % 50), b"v")
    cluster.run_for(1.0)
    sent = chunks_sent(cluster, leader)
    cluster.start(away)
    cluster.run_for(3.0)
    assert sent, "a snapshot was sent"
    assert cluster.converged()
    cluster.run(cluster.call(leader, lambda node: node.transfer_leader(away, timeout_s=2.0)))
    assert cluster.leader() == away
    revision = running(cluster, away).machine.revision
    for name in (away, leader):
        again = [
            write(cluster, name, b"counter", b"1", condition=MUST_BE_ABSENT, once=names[0]),
            write(cluster, name, b"gone", b"1", once=names[1]),
            write(cluster, name, b"gone", None, once=names[2]),
            write(cluster, name, b"keyed", b"1", once=names[3]),
        ]
        assert [answer.revision for answer in again] == [answer.revision for answer in first]
        assert [answer.version for answer in again] == [answer.version for answer in first]
        repeated = write_one(cluster, name, b"one", b"1", once=b"a key of level one")
        cluster.run_for(1.0)
        assert receipt(cluster, name, repeated).revision == receipt(cluster, away, one).revision
    assert running(cluster, away).machine.revision == revision, "nothing was applied again"
    with pytest.raises(PreconditionFailed):
        write(cluster, away, b"counter", b"1", condition=MUST_BE_ABSENT, once=(session, 4, 1))


def chunks_sent(cluster: SimCluster, sender: str) -> list[SnapshotChunk]:
    """Collects the pieces of snapshots that `sender` sends from now on."""
    transport = cluster.processes[sender].transport
    sent: list[SnapshotChunk] = []
    send = transport.send

    def note(peer, message):
        if isinstance(message, SnapshotChunk):
            sent.append(message)
        return send(peer, message)

    transport.send = note
    return sent
