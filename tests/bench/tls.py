"""What TLS costs: PUT and GET at QUORUM with it and without, in alternating rounds of one run.

    python -m tests.bench.tls --rounds 3 --seconds 3

Two clusters of three nodes run side by side, one with TLS at every door, peers included, and one without. Only one at a
time has anything to do. Clients are connections of this process that stay open, spread over the nodes, each with one
request of 100 bytes after the other. Both rates, the CPU of the servers for each request, and how many handshakes a
node does in a second, one after the other, are medians over the rounds.
"""

import argparse
import asyncio
import ssl
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import uvloop

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST
from tests.bench.procs import cpu_s

VALUE = b"x" * 100
KEYS = 1_000
CLIENTS = (16, 64)
HANDSHAKES = 50


class Figure(NamedTuple):
    """Of one round."""

    rate: float
    cpu_us: float


Figures = dict[tuple[str, int, str], list[Figure]]
"""(method, clients, "tls" or "plain") -> one for each round."""


class Side:
    """One of the two clusters."""

    def __init__(self, cluster: Cluster) -> None:
        self.ports = [node.http_port for node in cluster.topology.nodes]
        self.pids = [process.pid for name in cluster.topology.names if (process := cluster.process(name)) is not None]
        self.context: ssl.SSLContext | None = None if cluster.tls is None else cluster.tls.context()

    async def connect(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """One more connection."""
        return await asyncio.open_connection(HOST, self.ports[number % len(self.ports)], ssl=self.context)

    async def measure(self, method: str, clients: int, seconds: float) -> Figure:
        """Requests a second, and what each costs all servers together."""
        done = 0
        lines = [await self.connect(number) for number in range(clients)]
        begun_cpu, begun = self._cpu_s(), time.perf_counter()
        until = begun + seconds

        async def client(number: int) -> None:
            nonlocal done
            reader, writer = lines[number]
            turn = number
            while time.perf_counter() < until:
                turn += 1
                body = VALUE if method == "PUT" else b""
                writer.write(
                    b"%b /v1/kv/bench%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
                    % (method.encode(), turn * 7919 % KEYS, len(body), body)
                )
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 200"):
                    raise SystemExit(head.decode())
                await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]))
                done += 1

        await asyncio.gather(*map(client, range(clients)))
        took, cpu = time.perf_counter() - begun, self._cpu_s() - begun_cpu
        for _, writer in lines:
            writer.transport.abort()
        return Figure(done / took, cpu / done * 1e6)

    async def fill(self) -> None:
        """Every key is there."""
        reader, writer = await self.connect(0)
        for key in range(KEYS):
            writer.write(b"PUT /v1/kv/bench%d HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx" % key)
        for _ in range(KEYS):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]))
        writer.transport.abort()

    async def connections_per_s(self) -> float:
        """New connections, one after the other, each with one small request."""
        begun = time.perf_counter()
        for _ in range(HANDSHAKES):
            reader, writer = await self.connect(0)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()
        return HANDSHAKES / (time.perf_counter() - begun)

    def _cpu_s(self) -> float:
        return sum(map(cpu_s, self.pids))


async def _run(sides: dict[str, Side], rounds: int, seconds: float) -> tuple[Figures, dict[str, list[float]]]:
    figures: Figures = {}
    connections: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        await side.fill()
    for turn in range(rounds):
        # Who comes first changes, so that neither always has the quieter machine.
        order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for method in ("PUT", "GET"):
            for clients in CLIENTS:
                for name in order:
                    figure = await sides[name].measure(method, clients, seconds)
                    figures.setdefault((method, clients, name), []).append(figure)
        for name in order:
            connections[name].append(await sides[name].connections_per_s())
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    return figures, connections


def _table(figures: Figures, connections: dict[str, list[float]]) -> list[str]:
    lines = [f"{'':<22}{'plain':>10}{'TLS':>10}{'TLS/plain':>11}{'plain us':>11}{'TLS us':>9}"]
    for method, clients, name in sorted(figures, key=lambda key: (key[0] != "PUT", key[1])):
        if name != "plain":
            continue
        both = [figures[method, clients, side] for side in ("plain", "tls")]
        plain, tls = (statistics.median(figure.rate for figure in side) for side in both)
        costs = [statistics.median(figure.cpu_us for figure in side) for side in both]
        ratio = statistics.median(t.rate / p.rate for p, t in zip(*both, strict=True))
        title = f"{method}/s, {clients} clients"
        lines.append(f"{title:<22}{plain:>10,.0f}{tls:>10,.0f}{ratio:>11.2f}{costs[0]:>11.0f}{costs[1]:>9.0f}")
    plain, tls = (statistics.median(connections[side]) for side in ("plain", "tls"))
    lines.append(f"{'connections/s, 1 by 1':<22}{plain:>10,.0f}{tls:>10,.0f}{tls / plain:>11.2f}")
    return lines


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    sides: dict[str, Side] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        for side in ("plain", "tls"):
            cluster = bring_up(Path(name) / side, 3, tls=side == "tls")
            ending.callback(cluster.down)
            sides[side] = Side(cluster)
        told = uvloop.run(_run(sides, options.rounds, options.seconds))
    print("\n".join(_table(*told)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
