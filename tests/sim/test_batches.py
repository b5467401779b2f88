"""Batches on a simulated cluster: what each operation is told when nodes are cut off, stop leading, or die."""

from typing import Any

import pytest

from kvstore import limits
from kvstore.errors import DeadlineExceeded, KvError, MembersUnreachable, NoLeader, NoQuorum, NotFound
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.levels import Level
from kvstore.model.results import Record, WriteAnswer
from kvstore.testing import SimCluster
from tests.support.sim_levels import (
    ALL,
    ONE,
    QUORUM,
    heal,
    isolate,
    leader_and_followers,
    values,
    write_one,
)


def put(key: bytes, value: bytes, level: Level = QUORUM, once: Any = None, condition: int | None = None) -> BatchOp:
    return BatchOp("put", key, value, level, condition, once)


def get(key: bytes, level: Level = QUORUM) -> BatchOp:
    return BatchOp("get", key, b"", level, None, None)


def under_way(cluster: SimCluster, name: str, ops: list[BatchOp], timeout_s: float = 2.0) -> Any:
    return cluster.call(name, lambda node: node.batch(ops, timeout_s=timeout_s))


def batch(cluster: SimCluster, name: str, ops: list[BatchOp], timeout_s: float = 2.0) -> list[BatchResult]:
    told: list[BatchResult] = cluster.run(under_way(cluster, name, ops, timeout_s))
    return told


def outcomes(results: list[BatchResult]) -> list[str | None]:
    return [each.outcome for each in results if isinstance(each, (WriteAnswer, KvError))]


@pytest.mark.parametrize("name", ["leader", "follower"])
@pytest.mark.parametrize("level", [QUORUM, ALL])
def test_writes_of_a_batch_share_entries_and_each_has_its_own_result(cluster, name, level) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    asked = leader if name == "leader" else follower
    before = cluster.node(leader).machine.applied_index
    ops = [put(b"k%d" % number, b"v", level) for number in range(2_500)]
    ops[7] = put(b"k6", b"again", level, condition=0)
    ops[8] = BatchOp("delete", b"absent", b"", level, None, None)
    told = batch(cluster, asked, ops)
    assert [type(each).__name__ for each in told[6:10]] == [
        "WriteAnswer",
        "PreconditionFailed",
        "NotFound",
        "WriteAnswer",
    ]
    written = [each for each in told if isinstance(each, WriteAnswer)]
    assert sorted(each.revision for each in written) == list(range(1, 2_499))
    assert {(each.level, each.required) for each in written} == {(level, 3 if level is ALL else 2)}
    entries = cluster.node(leader).machine.applied_index - before
    assert entries <= 3
    if level is ALL:
        assert values(cluster, b"k2499") == [b"v"] * 3


def test_every_kind_of_operation_in_one_batch(cluster) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    write_one(cluster, leader, b"pending", b"v")
    batch(cluster, follower, [put(b"k", b"v", once=b"name")])
    cluster.run_for(0.5)
    told = batch(
        cluster,
        follower,
        [get(b"k", level) for level in (ONE, QUORUM, ALL)]
        + [get(b"absent", level) for level in (ONE, QUORUM, ALL)]
        + [put(b"one", b"v", ONE), put(b"all", b"v", ALL), put(b"k", b"v", once=b"name"), get(b"pending", ALL)],
    )
    assert [each.value for each in told[:3] if isinstance(each, Record)] == [b"v"] * 3
    assert [type(each) for each in told[3:6]] == [NotFound] * 3
    assert outcomes(told[3:6]) == [None] * 3
    assert outcomes(told[6:9]) == ["pending", "committed", "committed"]
    assert isinstance(told[9], Record)
    cluster.run_for(1.0)
    assert values(cluster, b"one") == [b"v"] * 3


def test_a_leader_that_is_cut_off_leaves_each_write_unknown_and_nothing_is_proposed_twice(cluster) -> None:
    leader, _, _ = leader_and_followers(cluster)
    isolate(cluster, leader)
    waiting = under_way(cluster, leader, [put(b"k%d" % number, b"v", once=b"%d" % number) for number in range(20)])
    told = cluster.run(waiting)
    assert {type(each) for each in told} == {DeadlineExceeded}
    assert set(outcomes(told)) == {"unknown"}
    assert len({id(each) for each in told}) == 20
    heal(cluster)
    again = batch(cluster, leader, [put(b"k%d" % number, b"v", once=b"%d" % number) for number in range(20)])
    assert sorted(each.revision for each in again if isinstance(each, WriteAnswer)) == list(range(1, 21))
    assert {each.version for each in again if isinstance(each, WriteAnswer)} == {1}


def test_a_node_without_a_majority_refuses_each_and_takes_those_at_one(cluster) -> None:
    _, _, far = leader_and_followers(cluster)
    isolate(cluster, far)
    cluster.run_for(2.0)
    told = batch(
        cluster, far, [put(b"k", b"v"), put(b"l", b"v", ALL), put(b"one", b"v", ONE), get(b"k"), get(b"k", ONE)]
    )
    assert isinstance(told[0], (NoQuorum, NoLeader))
    assert isinstance(told[1], (NoQuorum, NoLeader, MembersUnreachable))
    assert outcomes(told) == ["not_applied", "not_applied", "pending", None, None]
    assert isinstance(told[4], NotFound)
    heal(cluster)
    assert values(cluster, b"one", QUORUM) == [b"v"] * 3


def test_the_leader_dies_while_a_follower_hands_it_a_batch(cluster) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    waiting = under_way(cluster, follower, [put(b"k", b"v"), put(b"l", b"v")], timeout_s=5.0)
    cluster.run_for(0.0005)
    cluster.kill(leader)
    told = cluster.run(waiting)
    assert {type(each) for each in told} <= {DeadlineExceeded, WriteAnswer}
    cluster.start(leader)
    cluster.run_for(3.0)
    shown = values(cluster, b"k", QUORUM)
    assert shown in ([b"v"] * 3, [None] * 3)
    if isinstance(told[0], WriteAnswer):
        assert shown == [b"v"] * 3


def test_level_all_with_a_voter_away_is_refused_before_anything_is_proposed(cluster) -> None:
    leader, _, far = leader_and_followers(cluster)
    isolate(cluster, far)
    cluster.run_for(2.0)
    before = cluster.node(leader).machine.applied_index
    told = batch(cluster, leader, [put(b"k", b"v", ALL), put(b"l", b"v", ALL), put(b"m", b"v")])
    assert outcomes(told) == ["not_applied", "not_applied", "committed"]
    assert cluster.node(leader).machine.applied_index == before + 1


def test_a_put_under_a_lease_is_attached_to_it(cluster) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    lease = cluster.run(cluster.call(leader, lambda node: node.leases.grant(60_000, once=None, timeout_s=2.0))).id
    leased = put(b"k", b"v")._replace(lease=lease)
    told = batch(cluster, follower, [leased, leased._replace(lease=lease + 77), leased._replace(level=ONE), get(b"k")])
    assert [type(each).__name__ for each in told[:3]] == ["WriteAnswer", "LeaseNotFound", "BadRequest"]
    (record,) = batch(cluster, follower, [get(b"k")])
    assert isinstance(record, Record)
    assert record.lease == lease


def test_values_beyond_what_one_answer_holds_are_refused_one_by_one(cluster, monkeypatch) -> None:
    monkeypatch.setattr(limits, "BATCH_VALUES_BYTES_MAX", 250)
    leader, _, _ = leader_and_followers(cluster)
    batch(cluster, leader, [put(b"k%d" % number, bytes(100)) for number in range(4)])
    told = batch(cluster, leader, [get(b"k%d" % number) for number in range(4)] + [get(b"absent")])
    assert [type(each).__name__ for each in told] == ["Record", "Record", "TooLarge", "TooLarge", "NotFound"]
