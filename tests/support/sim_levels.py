"""What directed schedules of the levels ask of a simulated cluster, in few words."""

from typing import Any

from kvstore.model.commands import Once
from kvstore.model.levels import Level
from kvstore.model.results import ReadAnswer, Receipt, WriteAnswer
from kvstore.node.service import Node
from kvstore.testing import SimCluster
from kvstore.testing.process import silence_logs
from kvstore.testing.sim_disk import SimDisk

NODES = ("n1", "n2", "n3")
ONE, QUORUM, ALL = Level.ONE, Level.QUORUM, Level.ALL


def three_nodes(seed: int = 1) -> SimCluster:
    """A cluster that has a leader."""
    silence_logs()
    cluster = SimCluster(NODES, seed=seed)
    cluster.start_all()
    cluster.run_for(2.0)
    return cluster


def others(*names: str) -> tuple[str, ...]:
    """All nodes but these."""
    return tuple(name for name in NODES if name not in names)


def leader_and_followers(cluster: SimCluster) -> tuple[str, str, str]:
    """The leader, and the other two."""
    leader = cluster.leader()
    assert leader is not None
    near, far = others(leader)
    return leader, near, far


def running(cluster: SimCluster, name: str) -> Node:
    """The node `name`, which runs."""
    node = cluster.node(name)
    assert node is not None
    return node


def isolate(cluster: SimCluster, name: str) -> None:
    """Nothing gets to `name` or from it."""
    cluster.partition([name], others(name))


def heal(cluster: SimCluster, seconds: float = 3.0) -> None:
    """Everything gets through again, and time to make use of it."""
    cluster.network.heal_all()
    cluster.run_for(seconds)


def asked(
    cluster: SimCluster,
    name: str,
    key: bytes,
    value: bytes | None,
    level: Level = QUORUM,
    *,
    once: Once | None = None,
    condition: int | None = None,
    timeout_s: float = 2.0,
) -> Any:
    """A put under way, or a delete if `value` is None."""
    if value is None:
        return cluster.call(
            name, lambda node: node.delete(key, level=level, condition=condition, once=once, timeout_s=timeout_s)
        )
    return cluster.call(
        name, lambda node: node.put(key, value, level=level, condition=condition, once=once, timeout_s=timeout_s)
    )


def write(cluster: SimCluster, name: str, key: bytes, value: bytes | None, level: Level = QUORUM, **more: Any) -> Any:
    """The answer to a put or delete."""
    answer: WriteAnswer = cluster.run(asked(cluster, name, key, value, level, **more))
    return answer


def write_one(cluster: SimCluster, name: str, key: bytes, value: bytes | None, once: bytes | None = None) -> str:
    """The receipt of a write at level ONE."""
    answer = write(cluster, name, key, value, ONE, once=once)
    assert (answer.outcome, answer.acked, answer.revision) == ("pending", 1, None)
    receipt: str = answer.receipt
    return receipt


def read(cluster: SimCluster, name: str, key: bytes, level: Level = QUORUM, **more: Any) -> ReadAnswer:
    """The answer to a get."""
    more.setdefault("timeout_s", 2.0)
    answer: ReadAnswer = cluster.run(cluster.call(name, lambda node: node.get(key, level=level, **more)))
    return answer


def value(cluster: SimCluster, name: str, key: bytes, level: Level = QUORUM, **more: Any) -> bytes | None:
    """What a get shows, None if nothing."""
    record = read(cluster, name, key, level, **more).record
    return None if record is None else record.value


def values(cluster: SimCluster, key: bytes, level: Level = ONE) -> list[bytes | None]:
    """What every node shows."""
    return [value(cluster, name, key, level) for name in NODES]


def receipt(cluster: SimCluster, name: str, text: str) -> Receipt:
    """What `name` says of a write at level ONE."""
    found: Receipt = cluster.run(cluster.call(name, lambda node: node.receipt(text, timeout_s=2.0)))
    return found


def states(cluster: SimCluster, text: str) -> list[str]:
    """What every node says of it."""
    return [receipt(cluster, name, text).state for name in NODES]


def alarms(cluster: SimCluster, name: str) -> set[tuple[str, str]]:
    """(code, node) of every alarm that `name` shows."""
    view = cluster.run(cluster.call(name, Node.cluster))
    return {(alarm["code"], alarm["node"]) for alarm in view.alarms}


def replace_disk(cluster: SimCluster, name: str, disk: SimDisk) -> None:
    """`name` ends, and starts on another disk: what it had promised since that one was copied is forgotten."""
    cluster.kill(name)
    cluster.disks[name] = disk
    cluster.watches.pop(name, None)
    cluster.invariants.forget(name)
    cluster.start(name)
