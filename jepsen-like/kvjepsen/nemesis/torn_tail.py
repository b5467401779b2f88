"""A torn tail: a node dies in the middle of writing a group to its journal, and part of that group is on the disk.

A killed process leaves whole writes behind, so the torn one is put there while the node is dead: above everything that
it has written, and so above all that anybody was promised. Some of a group's bytes, or sectors of it in the wrong
order. No whole entry is among them: an entry that no leader has made must not be invented. The node has to start, cut
it off, and miss nothing of what stood below.
"""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from kvcluster.supervisor import NotReady
from kvjepsen.capabilities import Need
from kvjepsen.nemesis.fault import READY_S_MAX, Fault, Field, Struck
from kvjepsen.nemesis.journals import Segment, newest_segment
from kvstore.consensus import journal_format as form
from kvstore.consensus.journal_seal import sealed_group
from kvstore.vault.cipher import NONCE_BYTES

_SECTOR: Final = 512
_COMMAND_BYTES: Final = 3 * _SECTOR


class _Torn(NamedTuple):
    """What was put where."""

    path: Path
    offset: int
    data: bytes

    def is_there(self) -> bool:
        """Whether it still is, byte for byte."""
        if not self.path.exists():
            return False  # the log has been cut since
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(len(self.data)) == self.data


class TornTail(Fault):
    """A minority, or every node at once."""

    name = "torn-tail"
    title = "nodes die in the middle of a write to the journal, of which a part is on the disk"
    needs = frozenset({Need.PROCESSES})
    nodes_min = 1

    @asynccontextmanager
    async def strike(self, field: Field) -> AsyncIterator[Struck]:
        victims = field.names if field.rng.random() < 0.3 else field.minority()
        torn: dict[str, _Torn] = {}
        struck = Struck(victims)
        try:
            for victim in victims:
                await field.blocking(field.cluster.kill, victim)
                torn[victim] = await field.blocking(_tear, field, victim)
            yield struck
        finally:
            for victim in victims:
                await field.blocking(field.cluster.start, victim)
        await field.blocking(field.cluster.wait_ready, victims, READY_S_MAX)
        for victim, what in torn.items():
            if what.is_there():
                raise NotReady(f"{victim} runs, but {len(what.data)} torn bytes at {what.path}:{what.offset} are left")
            struck.effects.append(f"{victim} cut {len(what.data):,} torn bytes at {what.offset:,}")


def _tear(field: Field, victim: str) -> _Torn:
    segment = newest_segment(field.cluster.topology.data_dir(victim) / "journal", field.vault)
    data = torn_group(segment, field.rng)[: segment.size - segment.end]
    with segment.path.open("r+b") as file:
        file.seek(segment.end)
        file.write(data)
    return _Torn(segment.path, segment.end, data)


def torn_group(segment: Segment, rng: random.Random) -> bytes:
    """What a power cut may leave of a group of one entry that was about to be written at the segment's end."""
    command = rng.randbytes(_COMMAND_BYTES)
    group = form.group_record(segment.salt, segment.end, segment.end)
    records = form.entry_head(command, segment.last_index + 1, segment.last_term) + command
    if segment.cipher is None:
        whole = group + records
    else:
        whole = sealed_group(segment.cipher, rng.randbytes(NONCE_BYTES), group, records)
    if rng.random() < 0.5:
        return whole[: rng.randint(form.GROUP_BYTES + 4, len(whole) - 1)]
    lost = rng.randrange(len(whole) // _SECTOR)
    return whole[: lost * _SECTOR] + bytes(_SECTOR) + whole[(lost + 1) * _SECTOR :]
