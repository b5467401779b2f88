"""Members go and come: one is removed under load, its disk is wiped, and it is added again: a learner, then a voter."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

from kvcluster.supervisor import NotReady
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import READY_S_MAX, Fault, Field, Struck
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError

_ANSWER_S_MAX: Final = 5.0
_POLL_S: Final = 0.05


class Membership(Fault):
    """Anybody, the leader too. Without force: what it has acknowledged at level ONE is handed on before it may go."""

    name = "membership"
    title = "a member is removed, wiped, and added again until it votes"
    needs = frozenset({Need.PROCESSES})
    nodes_min = 3

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victim = field.any()
        await remove(field, victim, force=False)
        struck = Struck([victim], effects=[f"{victim} removed"])
        try:
            await field.blocking(field.cluster.kill, victim)
            yield struck
        finally:
            await wipe(field, victim)
            await add(field, victim)
        struck.effects.append(f"{victim} added, caught up, and votes")


async def remove(field: Field, victim: str, *, force: bool) -> None:
    """Have the others remove it, asking again until they have. Raises NotReady."""
    await _until(
        field,
        victim,
        lambda client: client.remove_member(victim, force=force, timeout_s=_ANSWER_S_MAX),
        lambda member: member is None,
        "was not removed",
    )


async def wipe(field: Field, victim: str) -> None:
    """Its data directory is empty. It must be dead."""
    await field.blocking(_empty, field, victim)
    field.wiped(victim)


async def add(field: Field, victim: str) -> None:
    """Start it on its empty directory, and have the others take it in until it votes. Raises NotReady."""
    peer = field.cluster.topology.node(victim).peer
    await field.blocking(field.cluster.start, victim)
    await _until(
        field,
        victim,
        lambda client: client.add_member(victim, peer, timeout_s=_ANSWER_S_MAX),
        lambda member: member is not None,
        "was not added",
    )
    await _until(
        field,
        victim,
        None,
        lambda member: member is not None and member["voter"] and member["reachable"],
        "does not vote",
    )


async def _until(
    field: Field,
    victim: str,
    ask: Callable[[AsyncClient], Any] | None,
    wanted: Callable[[dict[str, Any] | None], bool],
    otherwise: str,
) -> None:
    """Ask the others, for as long as what they know of `victim` is not what is wanted."""
    others = [node.http for node in field.cluster.topology.nodes if node.name != victim]
    deadline, problem = time.monotonic() + READY_S_MAX, ""
    async with AsyncClient(others, timeout_s=_ANSWER_S_MAX, tls=field.cluster.tls) as client:
        while True:
            with suppress(KvError, LocalError):
                view = await client.cluster_document()
                if wanted(next((each for each in view["members"] if each["name"] == victim), None)):
                    return
            if time.monotonic() >= deadline:
                raise NotReady(f"{victim} {otherwise} within {READY_S_MAX:g} s. {problem}")
            try:
                if ask is not None:
                    await ask(client)
            except (KvError, LocalError) as refused:
                problem = str(refused)
            await asyncio.sleep(_POLL_S)


def _empty(field: Field, victim: str) -> None:
    """All that is in it goes; the directory stays, on which an image may be mounted."""
    for entry in field.cluster.topology.data_dir(victim).iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
