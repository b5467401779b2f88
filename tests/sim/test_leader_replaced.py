"""What a follower has handed to a leader that falls silent: it waits for the next leader, not for its deadline."""

from collections.abc import Callable
from typing import Any

import pytest

from kvstore.errors import DeadlineExceeded, KvError
from kvstore.model.batches import BatchOp
from kvstore.model.results import WriteAnswer
from kvstore.testing import SimCluster
from tests.support.sim_levels import QUORUM, asked, heal, leader_and_followers, read, three_nodes, value, write

DEADLINE_S = 5.0
ELECTION_S = 1.5
SESSION = (1, 1, 1)

Silence = Callable[[SimCluster, str, str], None]


def paused(cluster: SimCluster, leader: str, follower: str) -> None:
    cluster.pause(leader)


def answers_lost(cluster: SimCluster, leader: str, follower: str) -> None:
    """What the follower hands over is committed; it is not told."""
    cluster.network.block(leader, follower)
    cluster.run_for(0.2)
    cluster.pause(leader)


@pytest.fixture
def cluster() -> SimCluster:
    return three_nodes()


@pytest.mark.parametrize("silence", [paused, answers_lost])
@pytest.mark.parametrize("named", ["key", "session"])
def test_a_write_with_a_name_is_handed_to_the_next_leader_and_carried_out_once(
    cluster: SimCluster, silence: Silence, named: str
) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    if named == "session":
        cluster.run(cluster.call(leader, lambda node: node.open_session(timeout_s=1.0)))
    once: Any = SESSION if named == "session" else b"name"
    began = cluster.time.now
    under_way = asked(cluster, follower, b"k", b"v", once=once, timeout_s=DEADLINE_S)
    cluster.run_for(0.0001)
    silence(cluster, leader, follower)
    told = cluster.run(under_way)
    assert cluster.time.now - began < ELECTION_S
    assert (told.version, told.outcome) == (1, "committed")
    cluster.resume(leader)
    heal(cluster)
    again = write(cluster, leader, b"k", b"v", once=once)
    assert again.revision == told.revision
    assert read(cluster, follower, b"k").revision == told.revision


def test_a_write_without_a_name_is_not_proposed_twice(cluster: SimCluster) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    under_way = asked(cluster, follower, b"k", b"v", timeout_s=DEADLINE_S)
    cluster.run_for(0.0001)
    answers_lost(cluster, leader, follower)
    with pytest.raises(DeadlineExceeded) as told:
        cluster.run(under_way)
    assert told.value.outcome == "unknown"
    cluster.resume(leader)
    heal(cluster)
    assert write(cluster, follower, b"k", b"w").version == 2


@pytest.mark.parametrize("silence", [paused, answers_lost])
def test_where_nobody_else_comes_to_lead_the_outcome_stays_unknown(cluster: SimCluster, silence: Silence) -> None:
    leader, follower, other = leader_and_followers(cluster)
    under_way = asked(cluster, follower, b"k", b"v", once=b"name", timeout_s=DEADLINE_S)
    cluster.run_for(0.0001)
    silence(cluster, leader, follower)
    cluster.kill(leader)  # its connection ends: the follower would propose it again, if there were anybody
    cluster.kill(other)
    with pytest.raises(KvError) as told:
        cluster.run(under_way)
    assert told.value.outcome == "unknown"


def test_a_batch_of_named_writes_goes_to_the_next_leader_and_one_with_others_does_not(cluster: SimCluster) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    named = [BatchOp("put", b"n%d" % each, b"v", QUORUM, None, b"name %d" % each) for each in range(30)]
    mixed = [BatchOp("put", b"m%d" % each, b"v", QUORUM, None, b"mixed" if each else None) for each in range(2)]
    began = cluster.time.now
    first = cluster.call(follower, lambda node: node.batch(named, timeout_s=DEADLINE_S))
    second = cluster.call(follower, lambda node: node.batch(mixed, timeout_s=DEADLINE_S))
    cluster.run_for(0.0001)
    answers_lost(cluster, leader, follower)
    told = cluster.run(first)
    assert cluster.time.now - began < ELECTION_S
    assert [each.version for each in told if isinstance(each, WriteAnswer)] == [1] * 30
    assert {each.outcome for each in cluster.run(second) if isinstance(each, KvError | WriteAnswer)} == {"unknown"}


def test_reads_and_keepalives_do_not_wait_for_it_either(cluster: SimCluster) -> None:
    leader, follower, _ = leader_and_followers(cluster)
    write(cluster, leader, b"k", b"v")
    lease = cluster.run(cluster.call(follower, lambda node: node.leases.grant(30_000, once=None, timeout_s=1.0))).id
    began = cluster.time.now
    reading = cluster.call(follower, lambda node: node.get(b"k", level=QUORUM, timeout_s=DEADLINE_S))
    keeping = cluster.call(follower, lambda node: node.leases.keep_alive([lease], timeout_s=DEADLINE_S))
    cluster.run_for(0.0001)
    cluster.pause(leader)
    assert cluster.run(reading).record.value == b"v"
    assert cluster.run(keeping) == [30_000]
    assert cluster.time.now - began < ELECTION_S
    assert value(cluster, follower, b"k", QUORUM) == b"v"
