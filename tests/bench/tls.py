"""What TLS and a token cost: PUT and GET at QUORUM with them and without, in alternating rounds of one run.

    python -m tests.bench.tls --rounds 3 --seconds 3

Two clusters of three nodes run side by side, one with TLS at every door, peers included, and auth enabled, so that each
request shows a token; and one without either (`--no-token`: TLS alone). Both lanes are measured: the HTTP door with a
request for each operation, and the Redis door with a pipeline of PIPELINE commands. Only one cluster at a time has
anything to do. Clients are connections of this process that stay open, spread over the nodes, each with one request of
100 bytes, or one pipeline of them, after the other. Both rates, the CPU of the servers for each operation, and how many
handshakes a node does in a second, one after the other, are medians over the rounds.
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

import hiredis
import uvloop

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST
from kvstore.client import Client
from tests.bench.procs import cpu_s

VALUE = b"x" * 100
KEYS = 1_000
MEASURED = (("http", 16), ("http", 64), ("redis", 16))
PIPELINE = 16
PASSWORD = "password of nobody"
HANDSHAKES = 50

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Figure(NamedTuple):
    """Of one round."""

    rate: float
    cpu_us: float


Figures = dict[tuple[str, str, int, str], list[Figure]]
"""(lane, operation, clients, "tls" or "plain") -> one for each round."""


class Side:
    """One of the two clusters. `token`: what requests show, None where auth is not enabled."""

    def __init__(self, cluster: Cluster, token: str | None) -> None:
        nodes = cluster.topology.nodes
        self.ports = {
            "http": [node.http_port for node in nodes],
            "redis": [node.redis_port for node in nodes if node.redis_port is not None],
        }
        self.pids = [process.pid for name in cluster.topology.names if (process := cluster.process(name)) is not None]
        self.context: ssl.SSLContext | None = None if cluster.tls is None else cluster.tls.context()
        self._token = token
        self._shown = b"" if token is None else b"Authorization: Bearer %b\r\n" % token.encode()

    async def connect(self, number: int, lane: str = "http") -> Line:
        """One more connection, logged in at the Redis door."""
        ports = self.ports[lane]
        line = await asyncio.open_connection(HOST, ports[number % len(ports)], ssl=self.context)
        if lane == "redis" and self._token is not None:
            await _pipeline(line, [hiredis.pack_command((b"AUTH", self._token.encode()))])
        return line

    async def measure(self, lane: str, operation: str, clients: int, seconds: float) -> Figure:
        """Operations a second, and what each costs all servers together."""
        done = 0
        lines = [await self.connect(number, lane) for number in range(clients)]
        begun_cpu, begun = self._cpu_s(), time.perf_counter()
        until = begun + seconds
        ask = self._request if lane == "http" else self._commands

        async def client(number: int) -> None:
            nonlocal done
            turn = number
            while time.perf_counter() < until:
                turn += 1
                answered = await ask(lines[number], operation, turn * 7919)
                done += answered  # only now: the others have counted meanwhile

        await asyncio.gather(*map(client, range(clients)))
        took, cpu = time.perf_counter() - begun, self._cpu_s() - begun_cpu
        for _, writer in lines:
            writer.transport.abort()
        return Figure(done / took, cpu / done * 1e6)

    async def _request(self, line: Line, operation: str, turn: int) -> int:
        reader, writer = line
        body = VALUE if operation == "PUT" else b""
        head = b"%b /v1/kv/bench%d HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b"
        writer.write(head % (operation.encode(), turn % KEYS, self._shown, len(body), body))
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(answer.decode())
        await reader.readexactly(_length(answer))
        return 1

    async def _commands(self, line: Line, operation: str, turn: int) -> int:
        keys = [b"bench%d" % ((turn + number) % KEYS) for number in range(PIPELINE)]
        await _pipeline(
            line, [hiredis.pack_command((b"SET", key, VALUE) if operation == "PUT" else (b"GET", key)) for key in keys]
        )
        return PIPELINE

    async def fill(self) -> None:
        """Every key is there."""
        reader, writer = await self.connect(0)
        for key in range(KEYS):
            head = b"PUT /v1/kv/bench%d HTTP/1.1\r\nHost: x\r\n%bContent-Length: 1\r\n\r\nx"
            writer.write(head % (key, self._shown))
        for _ in range(KEYS):
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
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


def _length(head: bytes) -> int:
    return int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0])


async def _pipeline(line: Line, commands: list[bytes]) -> None:
    """All at once; the answers have to be +OK, or values that are there."""
    reader, writer = line
    writer.write(b"".join(commands))
    for _ in commands:
        head = await reader.readuntil(b"\r\n")
        if head[:1] == b"$" and head != b"$-1\r\n":
            await reader.readexactly(int(head[1:]) + 2)
        elif head != b"+OK\r\n":
            raise SystemExit(head.decode())


async def _run(sides: dict[str, Side], rounds: int, seconds: float) -> tuple[Figures, dict[str, list[float]]]:
    figures: Figures = {}
    connections: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        await side.fill()
    for turn in range(rounds):
        # Who comes first changes, so that neither always has the quieter machine.
        order = list(sides) if turn % 2 == 0 else list(sides)[::-1]
        for lane, clients in MEASURED:
            for operation in ("PUT", "GET"):
                for name in order:
                    figure = await sides[name].measure(lane, operation, clients, seconds)
                    figures.setdefault((lane, operation, clients, name), []).append(figure)
        for name in order:
            connections[name].append(await sides[name].connections_per_s())
        print(f"round {turn + 1} of {rounds}", file=sys.stderr)
    return figures, connections


def _table(figures: Figures, connections: dict[str, list[float]], closed: str) -> list[str]:
    lines = [f"{'':<28}{'plain':>10}{closed:>12}{'ratio':>8}{'plain us':>11}{f'{closed} us':>14}"]
    for lane, operation, clients, name in sorted(figures, key=lambda key: (key[0], key[1] != "PUT", key[2])):
        if name != "plain":
            continue
        both = [figures[lane, operation, clients, side] for side in ("plain", "tls")]
        plain, tls = (statistics.median(figure.rate for figure in side) for side in both)
        costs = [statistics.median(figure.cpu_us for figure in side) for side in both]
        ratio = statistics.median(t.rate / p.rate for p, t in zip(*both, strict=True))
        title = f"{lane} {operation}/s, {clients} clients"
        lines.append(f"{title:<28}{plain:>10,.0f}{tls:>12,.0f}{ratio:>8.2f}{costs[0]:>11.1f}{costs[1]:>14.1f}")
    plain, tls = (statistics.median(connections[side]) for side in ("plain", "tls"))
    lines.append(f"{'connections/s, 1 by 1':<28}{plain:>10,.0f}{tls:>12,.0f}{tls / plain:>8.2f}")
    return lines


def _token(cluster: Cluster) -> str:
    """Enable auth; a token of root."""
    with Client(cluster.endpoints, tls=cluster.tls) as client:
        client.enable_auth(PASSWORD)
        return client.get_token("root", PASSWORD)[0]


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--no-token", action="store_true", help="TLS alone, auth is not enabled")
    options = parser.parse_args()
    sides: dict[str, Side] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as ending:
        for side in ("plain", "tls"):
            cluster = bring_up(Path(name) / side, 3, redis=True, tls=side == "tls")
            ending.callback(cluster.down)
            sides[side] = Side(cluster, _token(cluster) if side == "tls" and not options.no_token else None)
        told = uvloop.run(_run(sides, options.rounds, options.seconds))
    print("\n".join(_table(*told, "TLS" if options.no_token else "TLS, token")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
