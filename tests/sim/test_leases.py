"""Leases in the simulator: they end in time, never early, whoever leads; and a keepalive that was answered holds."""

import pytest

from kvstore.errors import KvError, LeaseNotFound
from kvstore.model.commands import OP_PUT
from kvstore.model.levels import Level
from kvstore.model.transactions import transaction
from kvstore.node.service import Node
from kvstore.testing import SimCluster

NODES = ("n1", "n2", "n3")
TTL_S = 5.0


def other_than(name: str | None) -> str:
    return next(each for each in NODES if each != name)


def grant(cluster: SimCluster, name: str, key: bytes, ttl_s: float = TTL_S) -> int:
    """A lease with one key."""

    async def do(node: Node) -> int:
        lease = (await node.leases.grant(round(ttl_s * 1000), once=None, timeout_s=2.0)).id
        await node.put(key, b"v", level=Level.QUORUM, lease=lease, timeout_s=2.0)
        return lease

    return cluster.run(cluster.call(name, do))


def keep_alive(cluster: SimCluster, name: str, *leases: int, timeout_s: float = 2.0) -> list[int]:
    return cluster.run(cluster.call(name, lambda node: node.leases.keep_alive(leases, timeout_s=timeout_s)))


def there(cluster: SimCluster, key: bytes, name: str | None = None) -> bool:
    asked = name or cluster.leader() or NODES[0]
    answer = cluster.run(cluster.call(asked, lambda node: node.get(key, level=Level.QUORUM, timeout_s=5.0)))
    return answer.record is not None


def test_a_lease_that_nobody_keeps_alive_ends_with_its_keys_and_not_before(cluster: SimCluster) -> None:
    grant(cluster, other_than(cluster.leader()), b"k")
    cluster.run_for(TTL_S - 0.5)
    assert there(cluster, b"k")
    cluster.run_for(1.0)
    assert not there(cluster, b"k")
    digests = {digest for _, digest in cluster.digests().values()}
    assert len(digests) == 1


def test_a_lease_that_is_kept_alive_by_any_node_stays(cluster: SimCluster) -> None:
    lease = grant(cluster, "n1", b"k")
    for turn in range(9):
        cluster.run_for(TTL_S - 1.0)
        assert keep_alive(cluster, NODES[turn % 3], lease) == [TTL_S * 1000]
    assert there(cluster, b"k")
    cluster.run_for(TTL_S + 0.5)
    assert not there(cluster, b"k")
    assert keep_alive(cluster, "n1", lease) == [0]


@pytest.mark.parametrize("how", ["kill", "pause", "partition"])
def test_a_new_leader_gives_every_lease_its_whole_time(cluster: SimCluster, how: str) -> None:
    lease = grant(cluster, "n1", b"k")
    for _ in range(4):
        cluster.run_for(TTL_S - 3.0)
        old = cluster.leader()
        assert old is not None
        if how == "partition":
            cluster.partition([old], [name for name in NODES if name != old])
        elif how == "pause":
            cluster.pause(old)
        else:
            cluster.kill(old)
        cluster.run_for(1.5)
        asked = other_than(old)
        assert there(cluster, b"k", asked)
        if how == "partition":
            cluster.network.heal_all()
        elif how == "pause":
            cluster.resume(old)
        else:
            cluster.start(old)
        cluster.run_for(1.0)
        assert there(cluster, b"k", asked)
    # And once nothing happens any more it ends: it is not given its time again and again.
    cluster.run_for(TTL_S + 1.0)
    assert not there(cluster, b"k")
    with pytest.raises(LeaseNotFound):
        cluster.run(cluster.call("n1", lambda node: node.leases.revoke(lease, once=None, timeout_s=5.0)))


def test_a_keepalive_through_a_leader_that_was_cut_off_is_not_answered_by_it(cluster: SimCluster) -> None:
    """It may not speak for a lease whose time runs elsewhere by then."""
    lease = grant(cluster, "n1", b"k")
    old = cluster.leader()
    assert old is not None
    cluster.partition([old], [name for name in NODES if name != old])
    with pytest.raises(KvError):
        keep_alive(cluster, old, lease, timeout_s=1.0)
    cluster.run_for(TTL_S + 2.0)
    assert not there(cluster, b"k", other_than(old))
    cluster.network.heal_all()
    cluster.run_for(2.0)
    assert keep_alive(cluster, old, lease) == [0]


def test_a_process_that_stood_still_ends_nothing_when_it_wakes(cluster: SimCluster) -> None:
    """The only node of a cluster: nobody takes over, and nobody could keep anything alive."""
    alone = SimCluster(("n1",), seed=2)
    alone.start_all()
    alone.run_for(1.0)
    lease = grant(alone, "n1", b"k")
    alone.pause("n1")
    alone.run_for(10 * TTL_S)
    alone.resume("n1")
    alone.run_for(0.1)
    assert keep_alive(alone, "n1", lease) == [TTL_S * 1000]
    alone.run_for(TTL_S + 1.0)
    assert not there(alone, b"k", "n1")
    alone.close()


def test_many_leases_end_in_entries_of_bounded_size(cluster: SimCluster) -> None:
    async def many(node: Node) -> None:
        for number in range(40):
            lease = (await node.leases.grant(3_000, once=None, timeout_s=5.0)).id
            steps = tuple((OP_PUT, b"%d/%d" % (number, key), b"", lease) for key in range(50))
            await node.transactions.transact(transaction((), steps, ()), level=Level.QUORUM, timeout_s=5.0)

    leader = cluster.leader()
    assert leader is not None
    cluster.run(cluster.call(leader, many))
    assert len(node_of(cluster, leader).machine) == 2_000
    cluster.run_for(8.0)
    assert len(node_of(cluster, leader).machine) == 0
    # Each at a revision of its own, whatever entries they came in.
    assert len({revision for revision, *_ in node_of(cluster, leader).machine.changes(40, 5_000)}) == 40


def node_of(cluster: SimCluster, name: str) -> Node:
    node = cluster.node(name)
    assert node is not None
    return node


def test_what_is_left_of_a_lease_is_told_by_any_node(cluster: SimCluster) -> None:
    lease = grant(cluster, "n1", b"k")
    cluster.run_for(2.0)
    for name in NODES:
        told = cluster.run(cluster.call(name, lambda node: node.leases.lease(lease, timeout_s=2.0)))
        assert (told.ttl_ms, told.keys) == (TTL_S * 1000, (b"k",))
        assert 2_000 < told.left_ms < 3_100
    assert cluster.run(cluster.call("n2", lambda node: node.leases.leases(timeout_s=2.0))) == [lease]
