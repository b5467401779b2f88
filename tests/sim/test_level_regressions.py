"""Faults that were found by reading, each shown by the schedule that brings it out."""

import asyncio

import pytest

from kvstore.consensus.configuration import Configuration
from kvstore.errors import Divergence, IdempotencyConflict, KvError, NotAVoter
from kvstore.model.stamp import Stamp
from kvstore.node.drains import CALL_DRAIN
from kvstore.node.retirement import RETIRED_S
from kvstore.testing import NodeFailed, SimCluster
from tests.support.sim_levels import (
    ALL,
    NODES,
    ONE,
    QUORUM,
    heal,
    isolate,
    leader_and_followers,
    read,
    receipt,
    running,
    three_nodes,
    value,
    write,
    write_one,
)


def test_a_quorum_write_under_the_key_of_a_superseded_one_is_not_told_committed() -> None:
    cluster = three_nodes()
    leader, near, _ = leader_and_followers(cluster)
    isolate(cluster, near)
    late = write_one(cluster, near, b"k", b"red", once=b"X")
    cluster.run_for(1.0)
    write(cluster, leader, b"k", b"blue")
    heal(cluster)
    assert receipt(cluster, leader, late).state == "superseded"
    with pytest.raises(IdempotencyConflict) as refused:
        write(cluster, leader, b"k", b"red", once=b"X")
    assert refused.value.outcome == "not_applied"
    assert value(cluster, leader, b"k") == b"blue"


def test_a_repetition_hides_nothing_from_reads_at_level_one() -> None:
    cluster = three_nodes()
    leader, near, _ = leader_and_followers(cluster)
    write_one(cluster, near, b"k", b"a", once=b"X")
    cluster.run_for(1.0)
    write(cluster, leader, b"k", b"b", ALL)
    isolate(cluster, near)
    write_one(cluster, near, b"k", b"a", once=b"X")
    assert value(cluster, near, b"k", ONE) == b"b"
    heal(cluster)
    assert [value(cluster, name, b"k", ONE) for name in NODES] == [b"b"] * 3


def test_what_a_client_is_told_of_a_forwarded_write_is_not_below_it() -> None:
    cluster = SimCluster(NODES, seed=1)
    cluster._wall_offsets_ms.update(n1=0, n2=400, n3=0)
    cluster.start_all()
    cluster.run_for(2.0)
    while cluster.leader() != "n2":
        leader = cluster.leader()
        assert leader is not None
        cluster.run(cluster.call(leader, lambda node: node.transfer_leader("n2", timeout_s=2.0)))
        cluster.run_for(0.3)
    isolate(cluster, "n3")

    async def first(node):  # type: ignore[no-untyped-def]
        await node.put(b"k", b"first", level=QUORUM, timeout_s=2.0)
        return node.stamp()

    told: Stamp = cluster.run(cluster.call("n1", first))
    cluster.run_for(0.05)

    async def second(node):  # type: ignore[no-untyped-def]
        node.heard(told)
        return await node.put(b"k", b"second", level=ONE, timeout_s=2.0)

    text = cluster.run(cluster.call("n3", second)).receipt
    heal(cluster)
    assert receipt(cluster, "n2", text).state == "committed"
    assert value(cluster, "n2", b"k") == b"second"


def test_after_a_crash_a_node_shows_what_it_had_acknowledged_at_level_one() -> None:
    cluster = three_nodes()
    _, near, _ = leader_and_followers(cluster)
    write_one(cluster, near, b"a", b"1")
    cluster.run_for(0.2)
    isolate(cluster, near)
    write_one(cluster, near, b"b", b"2")
    cluster.kill(near)
    cluster.start(near)
    cluster.run_for(0.5)
    assert (value(cluster, near, b"a", ONE), value(cluster, near, b"b", ONE)) == (b"1", b"2")


def test_a_node_that_lost_its_disk_acknowledges_nothing() -> None:
    cluster = three_nodes()
    _, near, _ = leader_and_followers(cluster)
    cluster.wipe(near)
    cluster.wiped.clear()
    cluster.start(near)
    cluster.run_for(5.0)
    with pytest.raises(NotAVoter, match="has not heard"):
        write(cluster, near, b"x", b"1", ONE)


def test_a_member_that_was_removed_answers_nothing_at_one_from_its_own_state() -> None:
    """It is not told, and what is written at ALL from then on is not on it: R + W > N would not hold."""
    cluster = three_nodes()
    leader, near, _ = leader_and_followers(cluster)
    write(cluster, leader, b"k", b"old", ALL)
    cluster.run(cluster.call(leader, lambda node: node.remove_member(near, force=False, timeout_s=5.0)))
    write(cluster, leader, b"k", b"new", ALL)
    for _ in range(3):
        with pytest.raises(KvError):
            value(cluster, near, b"k", ONE)
        cluster.run_for(RETIRED_S)
    cluster.kill(near)
    cluster.start(near)
    cluster.run_for(2.0)
    with pytest.raises(KvError):
        value(cluster, near, b"k", ONE)


def test_a_configuration_that_names_another_directory_makes_nobody_a_voter_here() -> None:
    """A member that was wiped, and removed, and added again, reads in the log of the voter that it was."""
    cluster = three_nodes()
    _, near, _ = leader_and_followers(cluster)
    node = running(cluster, near)
    now = node.engine.configuration
    assert node._votes_in(now)
    others = tuple(each._replace(identity="other") if each.name == near else each for each in now.members)
    assert not node._votes_in(Configuration(now.index, others))


def test_a_node_without_its_intent_log_refuses_to_start() -> None:
    cluster = three_nodes()
    _, near, _ = leader_and_followers(cluster)
    isolate(cluster, near)
    write_one(cluster, near, b"x", b"1")
    cluster.kill(near)
    disk = cluster.disks[near]
    for name in disk.list("data/intents"):
        disk.remove(f"data/intents/{name}")
    cluster.start(near)
    with pytest.raises(NodeFailed, match="intent log is gone"):
        cluster.run_for(1.0)


def test_a_key_that_one_replica_has_lost_is_a_divergence() -> None:
    cluster = three_nodes()
    leader, near, _ = leader_and_followers(cluster)
    write(cluster, leader, b"k", b"v", ALL)
    running(cluster, near).machine._contents.records.remove(b"k")
    with pytest.raises(Divergence, match="different content"):
        read(cluster, leader, b"k", ALL)
    assert len(running(cluster, leader).alarms) == 1


def test_leadership_that_is_lost_during_a_drain_leaves_nothing_in_a_queue() -> None:
    """The write goes to the next leader instead of waiting for its deadline where nobody proposes it."""
    cluster = three_nodes()
    leader, near, _ = leader_and_followers(cluster)
    node = running(cluster, leader)
    drain = node._drains.all

    async def slow(at, *, read):  # type: ignore[no-untyped-def]
        voters = await drain(at, read=read)
        await asyncio.sleep(1.0)
        return voters

    node._drains.all = slow  # type: ignore[method-assign]
    write_all = cluster.call(leader, lambda each: each.put(b"k", b"v", level=ALL, timeout_s=5.0))
    cluster.run_for(0.1)
    cluster.run(cluster.call(leader, lambda each: each.transfer_leader(near, timeout_s=2.0)))
    began = cluster.time.now
    assert cluster.run(write_all).outcome == "committed"
    assert cluster.time.now - began < 2.5
    assert len(node._proposals) == 0


def test_a_voter_that_refuses_to_drain_is_not_asked_without_a_pause() -> None:
    cluster = three_nodes()
    leader, near, _ = leader_and_followers(cluster)
    asked = 0

    async def refuse(_peer, _body):  # type: ignore[no-untyped-def]
        nonlocal asked
        asked += 1
        raise NotAVoter("not today")

    running(cluster, near)._calls.serve(CALL_DRAIN, refuse)
    with pytest.raises(KvError) as refused:
        write(cluster, leader, b"k", b"v", ALL, timeout_s=4.0)
    assert refused.value.outcome == "not_applied"
    assert refused.value.missing == (near,)
    assert asked < 100


def test_a_short_leadership_with_a_clock_an_hour_ahead_forgets_no_idempotency_key() -> None:
    cluster = SimCluster(NODES, seed=1)
    cluster._wall_offsets_ms.update(n1=3_600_000, n2=0, n3=0)
    cluster.start_all()
    cluster.run_for(5.0)
    leader = cluster.leader()
    assert leader in ("n2", "n3"), "it handed over before it stamped anything"
    first = write(cluster, "n2", b"k", b"v", once=b"KEY")
    with_power = [name for name in ("n2", "n3") if name != leader]
    cluster.run(cluster.call(leader, lambda node: node.transfer_leader("n1", timeout_s=2.0)))
    cluster.run_for(3.0)
    again = write(cluster, with_power[0], b"k", b"v", once=b"KEY")
    assert (again.revision, again.version) == (first.revision, 1)
    assert running(cluster, "n2").machine.last_stamp.ms < running(cluster, "n2")._clock._clock.wall_ms() + 1_000
