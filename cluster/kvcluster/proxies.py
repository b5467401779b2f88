"""The process of a cluster's link proxies: `python -m kvcluster.proxies --dir DIR`, run by the supervisor.

It takes orders on a unix socket in the cluster's directory, one JSON document a line, and answers each with one:

    {"do": "stall" | "reset" | "heal" | "delay", "links": [["n1", "n3"], ...] | null, "ms": 20}
    {"do": "show"}

null means every link, "ms" belongs to "delay". The answer is {"links": [...]} with every link as it is now, or
{"error": "..."}: then nothing was done.
"""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from kvcluster.link import Link
from kvcluster.topology import HOST, PROXIES, Topology, socket_path
from kvstore import limits
from kvstore.errors import LocalError

_LINE_BYTES_MAX: Final = 1 << 20
_EXIT_CANNOT_LISTEN: Final = 3


class Proxies:
    """All links of one cluster, by source and target."""

    def __init__(self, topology: Topology) -> None:
        self._links = {
            (spec.source, spec.target): Link((HOST, spec.port), (HOST, topology.node(spec.target).peer_port))
            for spec in topology.links
        }

    async def start(self) -> None:
        """Open every link. Raises OSError when a port is taken."""
        for link in self._links.values():
            await link.start()

    async def close(self) -> None:
        """End every link."""
        for link in self._links.values():
            await link.close()

    def obey(self, order: Any) -> dict[str, Any]:
        """Do one order, whole or not at all, and tell what is. Raises ValueError for one that makes no sense."""
        if not isinstance(order, dict):
            raise ValueError("an order is a JSON object")
        chosen = self._chosen(order.get("links"))
        match order:
            case {"do": "show"}:
                pass
            case {"do": "stall"}:
                for link in chosen:
                    link.stall()
            case {"do": "reset"}:
                for link in chosen:
                    link.reset()
            case {"do": "heal"}:
                for link in chosen:
                    link.heal()
            case {"do": "delay", "ms": int() | float() as ms} if 0 <= ms <= limits.LINK_DELAY_MS_MAX:
                for link in chosen:
                    link.delay(ms / 1000)
            case _:
                raise ValueError(f"no such order: {order}")
        return {
            "links": [
                {
                    "from": source,
                    "to": target,
                    "state": link.state,
                    "delay_ms": round(link.delay_s * 1000),
                    "resets_total": link.resets_total,
                    "held_bytes_total": link.held_bytes_total,
                }
                for (source, target), link in self._links.items()
            ]
        }

    def _chosen(self, pairs: Any) -> list[Link]:
        if pairs is None:
            return list(self._links.values())
        try:
            return [self._links[source, target] for source, target in pairs]
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"not links of this cluster: {pairs}") from None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the orders of one program until it leaves."""
        try:
            while line := await reader.readline():
                try:
                    answer = self.obey(json.loads(line))
                except ValueError as wrong:
                    answer = {"error": str(wrong)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ValueError, ConnectionError):
            pass  # an endless line, or the other side has left
        finally:
            writer.close()


async def run(directory: Path) -> None:
    """Serve the links of the cluster in `directory` until SIGTERM or SIGINT. Raises OSError, BadClusterDirectory."""
    topology = Topology.load(directory)
    home = topology.home(PROXIES)
    home.mkdir(parents=True, exist_ok=True)
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with AsyncExitStack() as closing:
        proxies = Proxies(topology)
        closing.push_async_callback(proxies.close)
        # First the door for orders: whoever finds the links open finds that one open too.
        with socket_path(home) as path:
            control = await asyncio.start_unix_server(proxies.serve, path, limit=_LINE_BYTES_MAX)
        closing.callback(control.close)
        await proxies.start()
        await stopped.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. Exit code 3 when a port is taken."""
    parser = argparse.ArgumentParser(prog="python -m kvcluster.proxies", description="Link proxies of one cluster.")
    parser.add_argument("--dir", type=Path, required=True, help="Directory of the cluster.")
    directory: Path = parser.parse_args(arguments).dir
    try:
        asyncio.run(run(directory))
    except (OSError, LocalError) as failed:
        print(f"the link proxies cannot start: {failed}", file=sys.stderr)
        return failed.exit_code if isinstance(failed, LocalError) else _EXIT_CANNOT_LISTEN
    return 0


if __name__ == "__main__":
    sys.exit(main())
