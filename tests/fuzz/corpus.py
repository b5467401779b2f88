"""Messages that real nodes have said to each other: writes at every level, batches, elections, a learner that gets a
snapshot, a handover. The cluster runs on virtual time, so that the same messages come each time.
"""

from contextlib import suppress
from functools import cache
from typing import Any
from unittest import mock

from kvstore.consensus import wire
from kvstore.consensus.messages import Message
from kvstore.errors import KvError, LocalError
from kvstore.model.batches import BatchOp
from kvstore.model.levels import Level
from kvstore.testing import SimCluster
from tests.support.sim_levels import ALL, NODES, ONE, QUORUM, others, three_nodes

EACH_MAX = 200


@cache
def recorded() -> tuple[Message, ...]:
    """At most EACH_MAX of each kind."""
    kept: dict[type, list[Message]] = {}
    plain = wire.encode_message

    def noting(message: Message) -> bytes:
        of_kind = kept.setdefault(type(message), [])
        if len(of_kind) < EACH_MAX:
            of_kind.append(message)
        return plain(message)

    with mock.patch.object(wire, "encode_message", noting):
        cluster = three_nodes()
        try:
            _talk(cluster)
        finally:
            cluster.close()
    return tuple(message for of_kind in kept.values() for message in of_kind)


def _talk(cluster: SimCluster) -> None:
    leader = cluster.leader()
    assert leader is not None
    for number in range(40):
        value = b"%d" % number + b"v" * (number * 97 % 5000)
        _ask(
            cluster, NODES[number % 3], _put(b"recorded/%d" % (number % 7), value, (QUORUM, ALL, ONE)[number // 3 % 3])
        )
    ops = [BatchOp("put", b"b%d" % number, b"v" * 200, QUORUM, None, None) for number in range(50)]
    _ask(cluster, others(leader)[0], lambda node: node.batch(ops, timeout_s=2.0))
    _ask(cluster, others(leader)[1], lambda node: node.get(b"b1", level=QUORUM, timeout_s=2.0))
    # One that was away so long that the log it needs is gone gets a snapshot; then another one leads.
    away = others(leader)[1]
    cluster.kill(away)
    for number in range(60):
        _ask(cluster, leader, _put(b"recorded/%d" % number, b"v" * 500, QUORUM))
    cluster.start(away)
    cluster.run_for(3.0)
    _ask(cluster, leader, lambda node: node.hand_over(2.0))
    cluster.run_for(2.0)


def _put(key: bytes, value: bytes, level: Level) -> Any:
    return lambda node: node.put(key, value, level=level, timeout_s=2.0)


def _ask(cluster: SimCluster, name: str, request: Any) -> None:
    with suppress(KvError, LocalError):
        cluster.run(cluster.call(name, request))
