"""What the nodes cost and say while they are fuzzed: memory, open files, counters, logs; and whether they live."""

import asyncio
import re
import ssl
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kvcli.metrics_text import read
from kvcluster.supervisor import Cluster
from tests.bench.procs import rss_mib

SAMPLE_S: Final = 1.0
ANSWER_S_MAX: Final = 20.0
COUNTERS: Final = (
    "kv_peer_bad_frames_total",
    "kv_peer_truncated_frames_total",
    "kv_peer_refused_handshakes_total",
    "kv_peer_late_handshakes_total",
    "kv_tls_refused_total",
    "kv_http_requests_total",
    "kv_redis_commands_total",
)
# Of the log: what no input may lead to.
UNEXPECTED: Final = re.compile(
    rb"Traceback \(most recent|call_failed|Fatal error|Task exception|never retrieved|\"level\": \"(?:error|critical)\""
)


class NodeDied(Exception):
    """A node has ended, or answers nobody."""


class Eyes:
    """Looks at all nodes of a cluster again and again."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.samples: list[dict[str, float]] = []
        self.slowest_answer_s = 0.0
        self._context = None if cluster.tls is None else cluster.tls.context()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. Raises NodeDied."""
        begun = time.monotonic()
        while not stop.is_set():
            await asyncio.to_thread(self._look, time.monotonic() - begun)
            try:
                await asyncio.wait_for(stop.wait(), SAMPLE_S)
            except TimeoutError:
                continue

    def _look(self, at_s: float) -> None:
        sample = {"at_s": round(at_s, 1)}
        for name in self._cluster.topology.names:
            process = self._cluster.process(name)
            if process is None or self._cluster.state(name) != "running":
                raise NodeDied(f"{name} has ended; its log ends: {self._cluster.log_tail(name)}")
            sample[name] = round(rss_mib(process.pid), 1)
            sample[f"{name} files"] = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
            asked = time.monotonic()
            try:
                self.ask(name, "/livez")
            except OSError as problem:
                raise NodeDied(f"{name} does not answer /livez: {problem}") from problem
            self.slowest_answer_s = max(self.slowest_answer_s, time.monotonic() - asked)
        self.samples.append(sample)

    def ask(self, name: str, path: str) -> bytes:
        """What the node answers."""
        url = f"{self._cluster.topology.node(name).http}{path}"
        context: ssl.SSLContext | None = self._context
        with urllib.request.urlopen(url, timeout=ANSWER_S_MAX, context=context) as answer:
            return bytes(answer.read())

    def counters(self) -> dict[str, float]:
        """COUNTERS, of all nodes together."""
        found = dict.fromkeys(COUNTERS, 0.0)
        for name in self._cluster.topology.names:
            samples = read(self.ask(name, "/metrics").decode())
            for metric in COUNTERS:
                found[metric] += samples.total(metric) or 0.0
        return found

    def memory(self) -> dict[str, Any]:
        """MiB by node: at the beginning, in the middle, at the end, at most; and open files at most and at the end."""
        names = self._cluster.topology.names
        first, middle, last = self.samples[0], self.samples[len(self.samples) // 2], self.samples[-1]
        return {
            name: {
                "rss_mib_first": first[name],
                "rss_mib_middle": middle[name],
                "rss_mib_last": last[name],
                "rss_mib_most": max(sample[name] for sample in self.samples),
                "files_most": max(sample[f"{name} files"] for sample in self.samples),
                "files_last": last[f"{name} files"],
            }
            for name in names
        }

    def unexpected(self) -> dict[str, list[str]]:
        """Lines of logs that no input may lead to, a few of each node."""
        found: dict[str, list[str]] = {}
        for name in self._cluster.topology.names:
            with self._cluster.topology.log_path(name).open("rb") as log:
                lines = [line.decode(errors="replace")[:600] for line in log if UNEXPECTED.search(line)]
            if lines:
                found[name] = [f"{len(lines)} lines", *lines[:3]]
        return found

    def log_bytes(self) -> int:
        """Of all nodes."""
        return sum(self._cluster.topology.log_path(name).stat().st_size for name in self._cluster.topology.names)


def risen(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, int]:
    """By how much counters have risen."""
    return {name: int(after[name] - before[name]) for name in after}
