"""How long a put at level ONE takes at the HTTP door, in a cluster at rest and on the last node alive.

    python -m tests.bench.one_latency --rounds 3 --seconds 4

With one client and with 64, each one put of 100 bytes after the other, over a connection that stays open; at QUORUM
beside it while all nodes live. The client is this process, on the same machine. Medians over the rounds are printed. On
the last node alive, what is acknowledged stays pending; a refusal (429) would end a round with an error.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvcluster.topology import NodeSpec
from kvjepsen.plain import Connection

VALUE = b"x" * 100
KEYS = 1_000
CLIENTS = (1, 64)

Figures = dict[tuple[str, str, int], list[tuple[float, float, float]]]
"""(cluster, level, clients) -> of each round puts per second, median and p99 in milliseconds."""


async def _client(node: NodeSpec, level: str, number: int, until: float, times: list[float]) -> None:
    connection = await Connection.open(node.http_port)
    turn = number
    while (begun := time.perf_counter()) < until:
        turn += 1
        answer = await connection.ask("PUT", f"/v1/kv/bench/{turn * 7919 % KEYS}?level={level}", VALUE)
        times.append(time.perf_counter() - begun)
        if answer.status not in (200, 202):
            raise SystemExit(f"{answer.status}: {answer.body!r}")
    connection.close()


async def _measure(node: NodeSpec, level: str, clients: int, seconds: float) -> tuple[float, float, float]:
    times: list[float] = []
    begun = time.perf_counter()
    until = begun + seconds
    await asyncio.gather(*(_client(node, level, number, until, times) for number in range(clients)))
    median, p99 = numpy.percentile(times, [50, 99]) * 1_000
    return len(times) / (time.perf_counter() - begun), float(median), float(p99)


def _round(cluster: Cluster, seconds: float, figures: Figures) -> None:
    leader = cluster.leader()
    follower = next(node for node in cluster.topology.nodes if node.name != leader)
    for clients in CLIENTS:
        for level in ("one", "quorum"):
            figure = asyncio.run(_measure(follower, level, clients, seconds))
            figures.setdefault(("all alive", level, clients), []).append(figure)
    for node in cluster.topology.nodes:
        if node is not follower:
            cluster.kill(node.name)
    for clients in CLIENTS:
        figure = asyncio.run(_measure(follower, "one", clients, seconds))
        figures.setdefault(("last node alive", "one", clients), []).append(figure)
    cluster.up()


def main() -> int:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as name:
        cluster = bring_up(Path(name) / "kv", 3)
        try:
            for turn in range(options.rounds):
                _round(cluster, options.seconds, figures)
                print(f"round {turn + 1} of {options.rounds}", file=sys.stderr)
        finally:
            cluster.down()
    print(f"{'cluster':<18}{'level':<8}{'clients':>8}{'puts/s':>10}{'median ms':>11}{'p99 ms':>9}")
    for (state, level, clients), rounds in sorted(figures.items()):
        rate, median, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{state:<18}{level:<8}{clients:>8}{rate:>10,.0f}{median:>11.2f}{p99:>9.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
