"""The client library as a load generator, one process with one loop, called as those of native.py are.

    python -m tests.bench.generators.kv_client --door batch --endpoints HOST:PORT --operation put --clients 64 ...

`get` is linearizable, `stale` is at level one. The load is that of `kv bench`, on keys that are there and stay.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass

import msgspec
import uvloop

from kvcli.bench.doors import DOORS
from kvcli.bench.load import Run
from kvcli.bench.plan import Plan
from kvcli.bench.tally import percentiles_ms
from kvstore.client import AsyncClient, Put
from kvstore.errors import KvError, LocalError
from tests.bench.work import VALUE_BYTES, Told

PREFIX = "key"
RETRY_S = 0.002
TOGETHER = 5_000


@dataclass(frozen=True, slots=True)
class _Chosen:
    door: str
    endpoints: tuple[str, ...]
    operation: str
    clients: int
    seconds: float
    warmup: float
    keys: int


def _plan(chosen: _Chosen) -> Plan:
    return Plan(
        "put" if chosen.operation == "put" else "get",
        chosen.endpoints,
        door=chosen.door,
        level="one" if chosen.operation == "stale" else "quorum",
        clients=chosen.clients,
        size_bytes=VALUE_BYTES,
        keys=chosen.keys,
        seconds=chosen.seconds,
        warmup_s=chosen.warmup,
        reads_percent=0 if chosen.operation == "put" else 100,
        stem=PREFIX,
        keep=True,
    )


async def _measured(chosen: _Chosen) -> Told:
    run = Run(_plan(chosen))
    await run.measure()
    tally = run.tally
    calls = tally.headline_s()
    told = percentiles_ms(calls)
    errors = sum(tally.errors.values())
    return Told(
        tally.total,
        tally.seconds,
        run.warmed + tally.total + errors,
        told["p50"] or 0.0,
        told["p99"] or 0.0,
        told["worst"] or 0.0,
        errors,
        None if not errors else str(tally.errors.most_common(3)),
        1,
        tally.cpu_share,
    )


async def _load(chosen: _Chosen) -> None:
    async with AsyncClient(chosen.endpoints) as client:
        value = b"x" * VALUE_BYTES
        for first in range(0, chosen.keys, TOGETHER):
            numbers = range(first, min(first + TOGETHER, chosen.keys))
            for result in await client.batch([Put(f"{PREFIX}{n}".encode(), value) for n in numbers]):
                if isinstance(result, (KvError, LocalError)):
                    raise result


async def _writes(chosen: _Chosen) -> None:
    """A usual client: it knows all endpoints, and sends again by itself."""
    async with AsyncClient(chosen.endpoints) as client:
        while True:
            try:
                await client.put(b"failover", b"x" * VALUE_BYTES)
            except (KvError, LocalError):
                await asyncio.sleep(RETRY_S)
                continue
            sys.stdout.write(".\n")
            sys.stdout.flush()


async def _until_end_of_input(chosen: _Chosen) -> None:
    writing = asyncio.ensure_future(_writes(chosen))
    await asyncio.to_thread(sys.stdin.read)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


def main() -> int:
    """Do one thing; see native.py."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--door", choices=list(DOORS), default="batch")
    parser.add_argument("--endpoints", required=True)
    parser.add_argument("--operation", choices=["put", "get", "stale", "load", "writes"], required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--keys", type=int, default=10_000)
    given = vars(parser.parse_args())
    given["endpoints"] = tuple(f"http://{each}" for each in given["endpoints"].split(","))
    chosen = _Chosen(**given)
    if chosen.operation == "load":
        begun = time.monotonic()
        uvloop.run(_load(chosen))
        told = Told(chosen.keys, time.monotonic() - begun, chosen.keys, 0.0, 0.0, 0.0)
    elif chosen.operation == "writes":
        uvloop.run(_until_end_of_input(chosen))
        return 0
    else:
        told = uvloop.run(_measured(chosen))
    sys.stdout.write(msgspec.json.encode(told._asdict()).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
