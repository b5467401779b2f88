"""Leadership is handed from node to node, by request. The only fault that needs no hand on the processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from kvjepsen.nemesis.fault import Fault, Field, Struck
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError


class Transfer(Fault):
    """To anybody but whoever leads now."""

    name = "transfer"
    title = "leadership is handed to another node"

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        leader = await field.leader()
        target = field.rng.choice([name for name in field.names if name != leader])
        struck = Struck([target])
        yield struck
        async with AsyncClient(field.cluster.topology.endpoints) as client:
            with suppress(KvError, LocalError):
                view = await client.transfer_leader(target)
                struck.effects.append(f"{view.leader} leads")
