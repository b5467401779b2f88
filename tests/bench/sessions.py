"""Exactly once at speed: as many writes in sessions as this machine can make, some of them repeated, each counted once.

    python -m tests.bench.sessions --processes 2 --connections 64 --seconds 10

Each process has one session (kvstore/state/sessions.py) that its connections share, and a key that all its writes go
to. Now and then a connection is cut right after a write was sent, and the write is sent again under its sequence. In
the end the version of each key must be the number of writes that were made. Meanwhile the answers that the state
machine keeps are looked at: they must stay below the bound of a session, however many writes there are.
"""

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from kvcluster import probe
from kvcluster.lifecycle import bring_up
from kvcluster.topology import HOST
from kvjepsen.plain import Connection
from kvstore import limits

CUT_SHARE = 0.002
PATIENCE_S = 30.0


class _Session:
    """The sequences that the connections of one process share, and what became of the writes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.acknowledged = 0
        self.repeated = 0
        self._next = 0
        self._open: dict[int, None] = {}
        self._room = asyncio.Event()

    async def take(self) -> int:
        """The next sequence, once it is near enough to the lowest one under way: no more answers are kept."""
        while self._open and self._next + 1 - next(iter(self._open)) >= limits.CLIENT_SESSION_WRITES_MAX:
            self._room.clear()
            await self._room.wait()
        self._next += 1
        self._open[self._next] = None
        return self._next

    def header(self, sequence: int) -> bytes:
        return b"KV-Session: %d/%d/%d\r\n" % (self.number, sequence, next(iter(self._open)))

    def done(self, sequence: int) -> None:
        self.acknowledged += 1
        del self._open[sequence]
        self._room.set()


class _Line(asyncio.Protocol):
    """One connection, one write at a time; only as much of HTTP as is needed here."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[int] | None = None
        self._seen = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, end, body = self._seen.partition(b"\r\n\r\n")
        if end and len(body) >= int(head.split(b"Content-Length: ")[1].split(b"\r\n", 1)[0]):
            self._seen = b""
            if self.answered is not None and not self.answered.done():
                self.answered.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(ConnectionError("cut"))

    async def ask(self, request: bytes) -> int:
        """The status of the answer."""
        self.answered = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self.answered


async def _write(session: _Session, key: str, ports: Iterator[int], until: float) -> None:
    loop = asyncio.get_running_loop()
    line: _Line | None = None
    port = next(ports)
    while time.monotonic() < until:
        sequence, cut, attempts = await session.take(), random.random() < CUT_SHARE, 0
        while True:
            attempts += 1
            if line is None:
                _, line = await loop.create_connection(_Line, HOST, port)
            head = b"PUT /v1/kv/%b HTTP/1.1\r\nHost: x\r\n" % key.encode()
            request = head + session.header(sequence) + b"Content-Length: 1\r\n\r\nx"
            if cut and attempts == 1:
                # Sent, and not waited for: it may be applied or not when it comes again.
                line.transport.write(request)
                await asyncio.sleep(random.uniform(0, 0.01))
                line.transport.abort()
                line = None
                session.repeated += 1
                continue
            status = await line.ask(request)
            if status == 200:
                session.done(sequence)
                break
            if status not in (429, 503, 504):
                raise SystemExit(f"a write in a session was answered {status}")
            await asyncio.sleep(0.01)
    if line is not None:
        line.transport.abort()


async def _worker(name: str, ports: list[int], connections: int, seconds: float) -> dict[str, Any]:
    opening = await Connection.open(ports[0])
    number = int((await opening.ask("POST", "/v1/sessions")).json()["session"])
    opening.close()
    session, until = _Session(number), time.monotonic() + seconds
    turns = iter([ports[place % len(ports)] for place in range(connections)])
    await asyncio.gather(*(_write(session, name, turns, until) for _ in range(connections)))
    return {"key": name, "acknowledged": session.acknowledged, "repeated": session.repeated}


def _run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as directory:
        cluster = bring_up(Path(directory) / "kv", 3)
        try:
            leader = cluster.leader()
            nodes = sorted(cluster.topology.nodes, key=lambda node: node.name != leader)
            ports = [str(node.http_port) for node in (nodes[:1] if options.leader_only else nodes)]
            command = [sys.executable, "-m", "tests.bench.sessions", "--seconds", str(options.seconds)]
            command += ["--connections", str(options.connections), "--ports", ",".join(ports), "--worker"]
            begun = time.monotonic()
            workers = [
                subprocess.Popen([*command, f"counter-{number}"], stdout=subprocess.PIPE, text=True)
                for number in range(options.processes)
            ]
            kept = 0
            while any(worker.poll() is None for worker in workers):
                kept = max(kept, int(probe.metric(nodes[0], "kv_answers_kept") or 0))
                time.sleep(0.25)
            took_s = time.monotonic() - begun
            told = [json.loads(worker.stdout.read()) for worker in workers if worker.stdout is not None]
            wrong = [each for each in told if _version(nodes[-1].http_port, each["key"]) != each["acknowledged"]]
        finally:
            cluster.down()
    acknowledged = sum(each["acknowledged"] for each in told)
    print(f"writes acknowledged      {acknowledged:,}")
    print(f"a second                 {acknowledged / options.seconds:,.0f} ({took_s:.1f} s with starting and ending)")
    print(f"sent twice               {sum(each['repeated'] for each in told):,}")
    print(f"answers kept, at most    {kept:,} of {len(told) * limits.CLIENT_SESSION_WRITES_MAX:,}")
    print(f"keys whose version is not the number of writes: {wrong or 'none'}")
    return 1 if wrong or kept > len(told) * limits.CLIENT_SESSION_WRITES_MAX else 0


def _version(port: int, key: str) -> int:
    async def read() -> int:
        connection = await Connection.open(port)
        answer = await connection.ask("GET", f"/v1/kv/{key}", headers={"Accept": "application/json"})
        return int(answer.json()["version"])

    return asyncio.run(read())


def main() -> int:
    """Start a cluster and the processes, and say what came out; or be one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64, help="of each process")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--leader-only", action="store_true", help="all connections go to the leader")
    parser.add_argument("--ports", help=argparse.SUPPRESS)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is None:
        return _run(options)
    ports = [int(port) for port in options.ports.split(",")]
    import uvloop

    print(json.dumps(uvloop.run(_worker(options.worker, ports, options.connections, options.seconds))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
