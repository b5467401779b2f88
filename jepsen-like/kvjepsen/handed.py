"""The ledger of writes at level ONE: what was acknowledged with a receipt, and what must have become of it.

Each key has one write under way at a time, and none whose outcome stays unknown: a writer repeats it under its
idempotency key until it is acknowledged. Writes at QUORUM on the same keys are noted too. Once all is handed over:

1. Every receipt says committed; or superseded, if a later write of that key was acknowledged.
2. The revisions of a key's committed writes rise in the order in which they were made, and no two are the same.
3. The key holds the value of the last one committed, at its revision, or is absent after a delete; its version is the
   number of those committed since the key was last deleted. So nothing is lost, and nothing was applied twice.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from kvstore.client import AsyncClient, WriteResult
from kvstore.errors import CannotConnect, KvError, LocalError
from kvstore.model.results import Receipt, Record

_IN_FLIGHT: Final = 16
_NOBODY_PAUSE_S: Final = 0.02


@dataclass(slots=True)
class Made:
    """An acknowledged write; `value` is None for a delete. At level ONE `revision` is known once it is settled."""

    value: bytes | None
    receipt: str | None
    revision: int | None
    superseded: bool = False


class Handed:
    """All writes of a run, by key, in the order in which they were made."""

    def __init__(self) -> None:
        self._made: dict[bytes, list[Made]] = {}

    def note(self, value: bytes | None, result: WriteResult) -> None:
        """A write was acknowledged."""
        made = Made(value, result.receipt, result.revision)
        self._made.setdefault(result.key, []).append(made)

    async def one(self, client: AsyncClient, key: bytes, value: bytes | None) -> None:
        """Write at level ONE, a put or a delete (None), and note it. Goes on while nobody listens: nothing is sent."""
        while True:
            try:
                if value is None:
                    result = await client.delete(key, level="one")
                else:
                    result = await client.put(key, value, level="one")
            except CannotConnect:
                await asyncio.sleep(_NOBODY_PAUSE_S)
            else:
                self.note(value, result)
                return

    def keys(self) -> list[bytes]:
        """Every key that was written."""
        return list(self._made)

    def ones(self) -> Iterator[Made]:
        """Every write at level ONE."""
        return (made for several in self._made.values() for made in several if made.receipt is not None)

    def of(self, key: bytes) -> list[Made]:
        """The writes of one key."""
        return self._made[key]

    @property
    def superseded(self) -> int:
        """How many were, once settled."""
        return sum(made.superseded for made in self.ones())

    async def settle(self, client: AsyncClient, timeout_s: float = 30.0) -> list[str]:
        """Ask for every receipt not asked for yet, and wait for those pending. Rules 1 and 2: what is wrong."""
        waiting = (made for made in self.ones() if made.revision is None and not made.superseded)

        async def ask() -> list[str]:
            return [wrong for made in waiting if (wrong := await _settle(client, made, timeout_s)) is not None]

        told = await asyncio.gather(*(ask() for _ in range(_IN_FLIGHT)))
        return [wrong for some in told for wrong in some] + [
            wrong for key, several in self._made.items() for wrong in _out_of_order(key, several)
        ]

    def judge(self, key: bytes, record: Record | None, where: str) -> str | None:
        """Rule 3, once settled: what is wrong with `record` as the state of `key`."""
        committed = [made for made in self._made[key] if made.revision is not None]
        deletes = [place for place, made in enumerate(committed) if made.value is None]
        since = committed[deletes[-1] + 1 if deletes else 0 :]
        if not since:
            return None if record is None else f"{key!r} at {where}: {_shown(record)}, but it was deleted"
        last = since[-1]
        wanted = (last.value, last.revision, len(since))
        held = None if record is None else (record.value, record.mod_revision, record.version)
        return None if held == wanted else f"{key!r} at {where}: {_shown(record)}, not {wanted}"

    async def check(self, nodes: Mapping[str, str]) -> tuple[int, list[str]]:
        """Read every key at ONE through every node: how many reads were made, and what is wrong (rule 3)."""
        reads, findings = 0, []
        for name, endpoint in nodes.items():
            async with AsyncClient([endpoint]) as client:
                keys = iter(self.keys())

                async def read(client: AsyncClient = client, keys: Iterator[bytes] = keys, name: str = name) -> None:
                    nonlocal reads
                    for key in keys:
                        reads += 1
                        try:
                            wrong = self.judge(key, await client.get(key, level="one"), name)
                        except (KvError, LocalError) as error:
                            wrong = f"{key!r} at {name}: {error}"
                        findings.extend([] if wrong is None else [wrong])

                await asyncio.gather(*(read() for _ in range(_IN_FLIGHT)))
        return reads, findings


async def _settle(client: AsyncClient, made: Made, timeout_s: float) -> str | None:
    assert made.receipt is not None
    try:
        receipt: Receipt = await client.wait_receipt(made.receipt, timeout_s)
    except (KvError, LocalError) as error:
        return f"the receipt {made.receipt} cannot be had: {error}"
    if receipt.state == "committed":
        made.revision = receipt.revision
    elif receipt.state == "superseded" and receipt.reason is None:
        made.superseded = True
    else:
        return f"the receipt {made.receipt} says {receipt.state} ({receipt.reason})"
    return None


def _out_of_order(key: bytes, several: list[Made]) -> Iterator[str]:
    if several[-1].superseded:
        yield f"{key!r}: the last write was superseded: {several[-1]}"
    revisions = [made.revision for made in several if made.revision is not None]
    if any(earlier >= later for earlier, later in pairwise(revisions)):
        yield f"{key!r}: revisions do not rise: {revisions}"


def _shown(record: Record | None) -> str:
    return "absent" if record is None else f"({record.value!r}, {record.mod_revision}, {record.version})"
