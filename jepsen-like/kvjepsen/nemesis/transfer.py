"""Leadership is handed from node to node, by request: the only fault that leaves the processes alone."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from kvjepsen.nemesis.fault import Fault, Field, Struck
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_TRANSFER_S_MAX: Final = 5.0


class Transfer(Fault):
    """To anybody but whoever leads now. A transfer that is given up in time, as a busy machine may have it, is asked
    for again.
    """

    name = "transfer"
    title = "leadership is handed to another node"

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        leader = await field.leader()
        target = field.rng.choice([name for name in field.names if name != leader])
        struck = Struck([target], held_s=0.0)
        yield struck
        deadline = time.monotonic() + _TRANSFER_S_MAX
        async with AsyncClient(field.cluster.topology.endpoints, tls=field.cluster.tls) as client:
            while not struck.effects and time.monotonic() < deadline:
                try:
                    view = await client.transfer_leader(target)
                    struck.effects.append(f"{view.leader} leads")
                except (KvError, LocalError) as refused:
                    field.progress(f"{target} does not lead yet: {refused}")
