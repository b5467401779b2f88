"""What a node of a live cluster has logged: a process that is not ours to await events of."""

import asyncio
import time

from kvcluster.supervisor import Cluster

PATIENCE_S = 30.0


async def until_log(cluster: Cluster, name: str, word: str) -> None:
    """Wait until the end of the log of `name` holds `word`."""
    deadline = time.monotonic() + PATIENCE_S
    while word not in cluster.log_tail(name):
        assert time.monotonic() < deadline, cluster.log_tail(name)
        await asyncio.sleep(0.05)
