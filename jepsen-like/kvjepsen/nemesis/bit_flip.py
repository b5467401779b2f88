"""A flipped bit on one node's disk, in what was durable: a record of its journal, or its snapshot.

The node must refuse to start, and name the file and an offset: going on without what it had acknowledged could lose it.
Then it is replaced as an operator would do it: removed by force, its directory emptied, and added again. What it alone
has acknowledged at level ONE is lost with it, so workloads that write at ONE and this fault do not go together.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from kvcluster.supervisor import NodeCorrupt, NotReady
from kvjepsen.capabilities import Need
from kvjepsen.nemesis import members
from kvjepsen.nemesis.fault import READY_S_MAX, Fault, Field, Struck
from kvjepsen.nemesis.journals import newest_segment
from kvstore.errors import LocalError
from kvstore.vault.envelope import NO_KEYS, Vault

_SNAPSHOT_SHARE: Final = 0.4


class DamageMissed(LocalError):
    """A node did not notice that its disk had changed, or did not say where."""


class BitFlip(Fault):
    """One node: of those that are left a majority must be whole."""

    name = "bit-flip"
    title = "a bit changes on a node's disk: it refuses to start, and is replaced"
    needs = frozenset({Need.PROCESSES})
    nodes_min = 3
    loses_ones = True

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victim = field.any()
        await field.blocking(field.cluster.kill, victim)
        data = field.cluster.topology.data_dir(victim)
        path, offset = await field.blocking(flip_somewhere, data, field.rng, field.vault)
        struck = Struck([victim], f"{path.relative_to(data)}:{offset}", held_s=0.0)
        yield struck
        said = await self._refusal(field, victim)
        if path.name not in said or "offset" not in said:
            raise DamageMissed(f"{victim} does not start, but does not name {path} and an offset either:\n{said}")
        struck.effects.append(f"{victim} refused to start, and named {path.name}")
        await members.remove(field, victim, force=True)
        await members.wipe(field, victim)
        await members.add(field, victim)
        struck.effects.append(f"{victim} removed, added anew, and votes")

    async def _refusal(self, field: Field, victim: str) -> str:
        try:
            await field.blocking(field.cluster.start, victim)
            await field.blocking(field.cluster.wait_ready, [victim], READY_S_MAX)
        except NodeCorrupt as refused:
            return str(refused)
        except NotReady as otherwise:
            raise DamageMissed(f"{victim} did not end as a node with a damaged disk must: {otherwise}") from otherwise
        raise DamageMissed(f"{victim} runs, although a bit of what it had made durable is another")


def flip_somewhere(data: Path, rng: random.Random, vault: Vault = NO_KEYS) -> tuple[Path, int]:
    """Change one bit of the newest snapshot, or of the newest journal segment below its last mark: which, and where."""
    snapshots = sorted((data / "snapshots").glob("*.snap"))
    if snapshots and rng.random() < _SNAPSHOT_SHARE:
        path, size = snapshots[-1], snapshots[-1].stat().st_size
    else:
        segment = newest_segment(data / "journal", vault)
        path, size = segment.path, segment.mark
    offset = rng.randrange(size)
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1 << rng.randrange(8)]))
    return path, offset
