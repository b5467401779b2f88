"""A write at level ALL that changed nothing is answered at once: no voter needs to have what is not there."""

from collections.abc import Callable
from typing import Any

import pytest

from kvstore.errors import KvError, NotFound, PreconditionFailed
from kvstore.model.levels import Level
from kvstore.node.service import Node
from kvstore.testing import SimCluster


@pytest.mark.parametrize(
    ("write", "refused"),
    [
        (lambda node: node.put(b"k", b"w", level=Level.ALL, condition=99, timeout_s=5.0), PreconditionFailed),
        (lambda node: node.delete(b"absent", level=Level.ALL, timeout_s=5.0), NotFound),
    ],
)
def test_a_write_that_is_refused_at_level_all_waits_for_no_voter(
    write: Callable[[Node], Any], refused: type[KvError]
) -> None:
    cluster = SimCluster(["n1", "n2", "n3"], seed=1)
    cluster.start_all()
    cluster.run(cluster.call("n1", lambda node: node.put(b"k", b"v", level=Level.ALL, timeout_s=5.0)))
    leader = cluster.leader()
    assert leader is not None
    node = cluster.node(leader)
    assert node is not None
    waited: list[int] = []
    node.engine.when_all_have = lambda index, _done: waited.append(index)  # type: ignore[method-assign]
    with pytest.raises(refused):
        cluster.run(cluster.call(leader, write))
    assert waited == []
    cluster.close()
