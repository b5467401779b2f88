"""Holds a ledger against a cluster: every key of it, read through every node, at the levels asked for."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from kvjepsen.ledger import Finding, Ledger
from kvstore.client import AsyncClient
from kvstore.errors import KvError, LocalError
from kvstore.model.results import Record

LEVELS: Final = ("quorum", "one")

_IN_FLIGHT: Final = 16
_PAGE_S_MAX: Final = 30.0


class Audit(NamedTuple):
    """`reads` were made (keys times nodes times levels when all is well), and `findings` are what was wrong."""

    reads: int
    findings: list[Finding]


async def audit(ledger: Ledger, nodes: Mapping[str, str], levels: Sequence[str] = LEVELS) -> Audit:
    """Reads every key of `ledger` by itself. `nodes` maps names to endpoints; no read is passed on to another node."""
    findings: list[Finding] = list(ledger.findings)
    reads = 0
    for name, endpoint in nodes.items():
        async with AsyncClient([endpoint]) as client:
            for level in levels:
                keys = iter(list(ledger.keys()))
                where = f"{name} at {level.upper()}"
                told = await asyncio.gather(
                    *(_read_keys(ledger, client, keys, level, where) for _ in range(_IN_FLIGHT))
                )
                reads += sum(count for count, _ in told)
                findings += [finding for _, some in told for finding in some]
    return Audit(reads, findings)


async def audit_by_range(
    ledger: Ledger, nodes: Mapping[str, str], prefixes: Iterable[bytes], levels: Sequence[str] = LEVELS
) -> Audit:
    """The same by ranges over `prefixes`, which must cover the ledger's keys; it finds invented keys too.

    All nodes are read at the same time.
    """
    covering = list(prefixes)
    parts = await asyncio.gather(*(_read_ranges(ledger, *node, covering, levels) for node in nodes.items()))
    return Audit(sum(part.reads for part in parts), ledger.findings + [f for part in parts for f in part.findings])


async def _read_ranges(ledger: Ledger, name: str, endpoint: str, prefixes: list[bytes], levels: Sequence[str]) -> Audit:
    reads, findings = 0, []
    async with AsyncClient([endpoint], timeout_s=_PAGE_S_MAX) as client:
        for level in levels:
            where = f"{name} at {level.upper()}"
            missing = set(ledger.keys())
            try:
                async for key, record in _records(client, prefixes, level):
                    missing.discard(key)
                    reads += 1
                    findings += _judged(ledger, key, record, where)
            except (KvError, LocalError) as error:
                findings.append(Finding("unreadable", b"", where, str(error)))
                continue
            for key in missing:
                reads += 1
                findings += _judged(ledger, key, None, where)
    return Audit(reads, findings)


async def _read_keys(
    ledger: Ledger, client: AsyncClient, keys: Iterator[bytes], level: str, where: str
) -> tuple[int, list[Finding]]:
    reads, findings = 0, []
    for key in keys:
        reads += 1
        try:
            record = await client.get(key, level=level)
        except (KvError, LocalError) as error:
            findings.append(Finding("unreadable", key, where, str(error)))
            continue
        findings += _judged(ledger, key, record, where)
    return reads, findings


def _judged(ledger: Ledger, key: bytes, record: Record | None, where: str) -> list[Finding]:
    finding = ledger.judge(key, record, where)
    return [] if finding is None else [finding]


async def _records(client: AsyncClient, prefixes: list[bytes], level: str) -> AsyncIterator[tuple[bytes, Record]]:
    for prefix in prefixes:
        async for item in client.scan(prefix=prefix, level=level):
            yield item
