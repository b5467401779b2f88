"""Directed schedules of hinted handoff: a node's writes at level ONE reach the log in order and once, whatever happens
to the node, its disk, its connections, or its seat in the cluster.
"""

import pytest

from kvjepsen.mutants import MUTANTS
from kvstore import limits
from kvstore.errors import KvError, MembershipRefused, NoLeader, NotAVoter
from kvstore.node import forwarding
from kvstore.node.forwarding import CALL_INTENTS, Forwarder
from kvstore.node.retirement import RETIRED_S
from kvstore.testing import SimCluster
from kvstore.testing.sim_disk import KEPT, LOST
from tests.support.sim_levels import (
    ALL,
    NODES,
    QUORUM,
    asked,
    heal,
    isolate,
    leader_and_followers,
    others,
    receipt,
    replace_disk,
    running,
    states,
    value,
    values,
    write,
    write_one,
)


def in_a_row(cluster: SimCluster, name: str, receipts: list[str], asked_at: str) -> None:
    """All of them are committed, each once, in the order in which they were acknowledged, and nothing else is."""
    told = [receipt(cluster, asked_at, each) for each in receipts]
    assert [each.state for each in told] == ["committed"] * len(receipts)
    revisions = [each.revision for each in told]
    assert revisions == sorted(set(revisions))
    assert running(cluster, name).machine.revision == len(receipts)
    assert running(cluster, name).intents_pending == 0


# -- on the way to the leader


def sixty_writes(cluster: SimCluster, monkeypatch) -> tuple[str, list[str]]:
    """At a follower, two to a batch: the follower, and the receipts."""
    monkeypatch.setattr(limits, "ENTRY_OPS_MAX", 2)
    _, away, _ = leader_and_followers(cluster)
    receipts = []
    for number in range(60):
        receipts.append(write_one(cluster, away, b"k%d" % (number % 5), b"%d" % number))
        cluster.run_for(0.01)
    cluster.run_for(25.0)
    return away, receipts


def test_batches_whose_answers_are_lost_are_applied_once_and_in_order(cluster, monkeypatch) -> None:
    """With the connections, as soon as the batch is applied on the leader, and every one until the last are through."""
    leader = cluster.leader()
    forwarder, lost = running(cluster, leader).forwarder, []

    async def served(peer: str, body):
        answer = await forwarder._serve(peer, body)
        lost.append(answer)
        cluster.network.reset(leader, peer)
        cluster.network.reset(peer, leader)
        return answer

    running(cluster, leader)._calls.serve(CALL_INTENTS, served)
    away, receipts = sixty_writes(cluster, monkeypatch)
    assert len(lost) >= 30
    for name in NODES:
        in_a_row(cluster, away, receipts, name)
    assert [value(cluster, "n1", b"k%d" % number) for number in range(5)] == [b"%d" % (55 + n) for n in range(5)]
    assert cluster.converged()


def late_answers(cluster: SimCluster, monkeypatch) -> tuple[str, list[str]]:
    """The follower asks again before it can have heard that its batch was applied."""
    leader, away, _ = leader_and_followers(cluster)
    cluster.network.extra_s[leader, away] = 0.5
    monkeypatch.setattr(forwarding, "ANSWER_S_MAX", 0.05)
    return sixty_writes(cluster, monkeypatch)


def test_batches_that_are_sent_again_and_again_are_applied_once_and_in_order(cluster, monkeypatch) -> None:
    away, receipts = late_answers(cluster, monkeypatch)
    assert running(cluster, away).forwarder.batches_total > 30
    for name in NODES:
        in_a_row(cluster, away, receipts, name)


def test_without_rule_o2_they_are_applied_twice(cluster, monkeypatch) -> None:
    with MUTANTS["intents-applied-twice"]():
        away, receipts = late_answers(cluster, monkeypatch)
    assert running(cluster, away).machine.revision > len(receipts)


def test_connections_that_break_all_the_time_change_nothing_but_the_time_it_takes(cluster) -> None:
    leader, away, _ = leader_and_followers(cluster)
    receipts = []
    for number in range(150):
        receipts.append(write_one(cluster, away, b"k", b"%d" % number))
        cluster.network.reset(*((leader, away) if number % 2 else (away, leader)))
        cluster.run_for(0.003 + 0.001 * (number % 7))
    cluster.run_for(5.0)
    in_a_row(cluster, leader, receipts, leader)


def test_the_leader_changes_again_and_again_while_writes_are_handed_over(cluster, monkeypatch) -> None:
    monkeypatch.setattr(limits, "ENTRY_OPS_MAX", 3)
    leader, away, _ = leader_and_followers(cluster)
    isolate(cluster, away)
    receipts = [write_one(cluster, away, b"k", b"%d" % number) for number in range(60)]
    cluster.network.heal_all()
    for _ in range(4):
        cluster.run_for(0.03)
        present = cluster.leader()
        if present is not None and present != away:
            cluster.kill(present)
            cluster.run_for(0.7)
            cluster.start(present)
    cluster.run_for(5.0)
    in_a_row(cluster, away, receipts, leader)


# -- over restarts of the node


@pytest.mark.parametrize("end", ["killed", "power", "stopped"])
def test_what_is_pending_from_five_starts_is_applied_epoch_by_epoch(cluster, end) -> None:
    leader, away, _ = leader_and_followers(cluster)
    isolate(cluster, away)
    receipts: list[str] = []
    for start in range(5):
        receipts += [write_one(cluster, away, b"k%d" % number, b"%d.%d" % (start, number)) for number in range(3)]
        if end == "power":
            cluster.power_off(away, LOST)
        elif end == "killed":
            cluster.kill(away)
        else:
            cluster.run(cluster.stop(away))
        cluster.start(away)
        cluster.run_for(0.3)
        assert running(cluster, away).intents_pending == len(receipts)
        assert [receipt(cluster, away, each).state for each in receipts] == ["pending"] * len(receipts)
    receipts.append(write_one(cluster, away, b"k3", b"last"))
    assert len({each.rsplit(".", 2)[1] for each in receipts}) == 6
    heal(cluster)
    for name in NODES:
        in_a_row(cluster, leader, receipts, name)
    assert values(cluster, b"k0", QUORUM) == [b"4.0"] * 3


@pytest.mark.parametrize("operations", range(1, 13))
def test_a_node_that_loses_power_while_it_hands_over_neither_loses_nor_repeats_a_write(
    cluster, operations, monkeypatch
) -> None:
    monkeypatch.setattr(limits, "ENTRY_OPS_MAX", 2)
    leader, away, _ = leader_and_followers(cluster)
    isolate(cluster, away)
    receipts = [write_one(cluster, away, b"k", b"%d" % number) for number in range(6)]
    cluster.kill(away)
    cluster.start(away)
    cluster.run_for(0.2)
    receipts += [write_one(cluster, away, b"k", b"%d" % number) for number in range(6, 12)]
    cluster.network.heal_all()
    cluster.crash_in(away, operations)
    cluster.run_for(1.5)
    assert cluster.node(away) is None, "the power has gone"
    cluster.start(away)
    cluster.run_for(3.0)
    in_a_row(cluster, leader, receipts, away)


# -- a disk that was put back


@pytest.mark.parametrize("starts", [0, 1, 4])
def test_a_copy_of_a_disk_that_was_put_back_repeats_nothing_and_its_new_writes_are_applied(cluster, starts) -> None:
    """The copy holds writes that were handed over since, under numbers of starts that were used since."""
    leader, away, _ = leader_and_followers(cluster)
    isolate(cluster, away)
    receipts = [write_one(cluster, away, b"old%d" % number, b"v") for number in range(5)]
    copy = cluster.disks[away].after_crash(KEPT)
    cluster.network.heal_all()
    cluster.run_for(2.0)
    for start in range(starts):
        cluster.kill(away)
        cluster.start(away)
        cluster.run_for(1.0)
        receipts.append(write_one(cluster, away, b"between%d" % start, b"v"))
        cluster.run_for(1.0)
    in_a_row(cluster, leader, receipts, leader)
    before = write(cluster, leader, b"old0", b"newer").revision
    isolate(cluster, away)
    replace_disk(cluster, away, copy)
    cluster.run_for(0.5)
    assert running(cluster, away).intents_pending == 5, "it does not know better yet"
    new = [write_one(cluster, away, b"new%d" % number, b"v") for number in range(4)]
    heal(cluster, 5.0)
    new += [write_one(cluster, away, b"new%d" % number, b"v") for number in range(4, 8)]
    cluster.run_for(2.0)
    assert running(cluster, away).intents_pending == 0
    assert running(cluster, leader).machine.revision == before + 8
    assert values(cluster, b"old0", QUORUM) == [b"newer"] * 3
    for name in NODES:
        assert [value(cluster, name, b"new%d" % number, QUORUM) for number in range(8)] == [b"v"] * 8
        assert [receipt(cluster, name, each).state for each in receipts] == ["committed"] * len(receipts)
    assert [receipt(cluster, away, each).state for each in new] == ["committed"] * 8
    assert cluster.converged()


def test_two_nodes_that_hold_one_idempotency_key_have_it_applied_once(cluster) -> None:
    leader, near, far = leader_and_followers(cluster)
    cluster.partition([leader], [near], [far])
    here = write_one(cluster, near, b"k", b"v", once=b"same")
    there = write_one(cluster, far, b"k", b"v", once=b"same")
    other = write_one(cluster, leader, b"k", b"something else", once=b"same")
    heal(cluster)
    told = [receipt(cluster, leader, each) for each in (here, there, other)]
    assert running(cluster, leader).machine.revision == 1
    # Whoever came first, the same request has the same answer, and another request a conflict.
    assert sorted((each.state, each.reason) for each in told) in (
        [("committed", None), ("committed", None), ("superseded", "conflict")],
        [("committed", None), ("superseded", "conflict"), ("superseded", "conflict")],
    )


# -- a seat that is given up


def cannot_hand_over(monkeypatch) -> None:
    """Every batch is refused, as by leaders that come and go."""

    async def refused(self, *_arguments):
        raise NoLeader("nobody leads")

    monkeypatch.setattr(Forwarder, "_send", refused)


def remove(cluster: SimCluster, name: str, *, force: bool = False):
    leader = cluster.leader()
    assert leader is not None
    return cluster.run(cluster.call(leader, lambda node: node.remove_member(name, force=force, timeout_s=5.0)))


def names(cluster: SimCluster) -> tuple[str, ...]:
    leader = cluster.leader()
    assert leader is not None
    return running(cluster, leader).engine.configuration.names


def test_a_member_hands_over_before_it_is_removed_and_nothing_is_lost(cluster) -> None:
    leader, away, _ = leader_and_followers(cluster)
    receipts = [write_one(cluster, away, b"k%d" % number, b"v") for number in range(20)]
    _, lost = remove(cluster, away)
    assert lost == 0
    assert away not in names(cluster)
    told = [receipt(cluster, leader, each) for each in receipts]
    assert [each.state for each in told] == ["committed"] * 20
    assert value(cluster, leader, b"k19") == b"v"


def test_a_member_that_cannot_hand_over_is_not_removed_and_goes_back_to_work(cluster, monkeypatch) -> None:
    leader, away, _ = leader_and_followers(cluster)
    cannot_hand_over(monkeypatch)
    receipts = [write_one(cluster, away, b"k%d" % number, b"v") for number in range(3)]
    with pytest.raises(MembershipRefused, match="holds 3 acknowledged writes") as refused:
        remove(cluster, away)
    assert (refused.value.status, refused.value.outcome) == (409, "not_applied")
    assert away in names(cluster)
    with pytest.raises(NotAVoter) as retired:
        write_one(cluster, away, b"k", b"v")
    assert (retired.value.status, retired.value.outcome) == (503, "not_applied")
    monkeypatch.undo()
    cluster.run_for(RETIRED_S + 1.0)
    assert [states(cluster, each) for each in receipts] == [["committed"] * 3] * 3
    assert receipt(cluster, leader, write_one(cluster, away, b"k", b"v")).state in ("pending", "committed")


def test_by_force_it_is_removed_and_the_loss_is_reported(cluster, monkeypatch) -> None:
    leader, away, _ = leader_and_followers(cluster)
    cannot_hand_over(monkeypatch)
    receipts = [write_one(cluster, away, b"k%d" % number, b"v") for number in range(3)]
    _, lost = remove(cluster, away, force=True)
    assert lost == 3
    assert away not in names(cluster)
    told = receipt(cluster, leader, receipts[0])
    assert (told.state, told.reason) == ("unknown", "lost")


def test_a_member_that_cannot_be_asked_is_removed_by_force_only_and_nobody_knows_what_was_lost(cluster) -> None:
    _, away, _ = leader_and_followers(cluster)
    isolate(cluster, away)
    write_one(cluster, away, b"k", b"v")
    with pytest.raises(MembershipRefused, match="cannot be asked"):
        remove(cluster, away)
    assert away in names(cluster)
    assert remove(cluster, away, force=True)[1] is None
    assert away not in names(cluster)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_removed_node_takes_no_write_at_level_one_any_more(cluster, restarted) -> None:
    _, away, _ = leader_and_followers(cluster)
    remove(cluster, away)
    if restarted:
        cluster.kill(away)
        cluster.start(away)
        cluster.run_for(0.5)
    for _ in range(8):
        with pytest.raises(KvError) as refused:
            write_one(cluster, away, b"k", b"v")
        assert (refused.value.status, refused.value.outcome) == (503, "not_applied")
        cluster.run_for(5.0)
    assert write(cluster, others(away)[0], b"k", b"v", ALL).acked == 2


def test_a_leader_that_is_removed_hands_over_its_writes_too(cluster) -> None:
    leader, near, _ = leader_and_followers(cluster)
    receipts = [write_one(cluster, leader, b"k%d" % number, b"v") for number in range(5)]
    asked(cluster, near, b"other", b"v")
    _, lost = cluster.run(cluster.call(near, lambda node: node.remove_member(leader, force=False, timeout_s=8.0)))
    assert lost == 0
    assert [receipt(cluster, near, each).state for each in receipts] == ["committed"] * 5
    cluster.run_for(15.0)
    with pytest.raises(NotAVoter):
        write_one(cluster, leader, b"k", b"v")
