"""A cluster of three, the load, the attacks one after the other, and the verdict.

While frames are sent nobody but the load may change anything. While requests and commands are sent, only keys with
their marker may change; while schemathesis asks, all but those of the load. What each user may touch the store itself
enforces (auth is enabled); the watch sees whether it does.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kvcluster.lifecycle import bring_up
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST
from kvstore.client import AsyncClient
from kvstore.security import authority
from tests.fuzz.eyes import Eyes, NodeDied, risen
from tests.fuzz.load import PREFIX, Load
from tests.fuzz.requests import HTTP_KEY, REDIS_KEY
from tests.support.api_fuzz import CONFIG, Fuzzed, fuzz

ROOT: Final = Path(__file__).resolve().parents[2]
PASSWORD: Final = "password of nobody"
STRANGER: Final = "stranger"
STRANGERS: Final = 8
SLICE: Final = {"peer": 20_000, "http": 20_000, "redis": 10_000}
RSS_MIB_MAX: Final = 600.0
GAP_S_MAX: Final = 20.0
SETTLE_S_MAX: Final = 60.0
# What asks for more than keys is fuzzed by tests/e2e/test_openapi.py, without a load that must not be disturbed.
API_AT_ONCE: Final = 6
API_LEFT_OUT: Final = "/v1/(auth|cluster/|settings/|compact|snapshot)"

Say = Callable[[str], None]


@dataclass
class Target:
    """How much of what."""

    frames: int
    requests: int
    api_requests: int
    commands: int
    seed: int = 1
    tls: bool = False
    rate_hz: float = 150.0


@dataclass
class Arm:
    """What an arm has done, in this run and those that it goes on from."""

    next: int = 0
    conversations: int = 0
    units: int = 0
    bytes_sent: int = 0
    refused: int = 0
    answers: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0
    ends: dict[str, int] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)
    odd_total: int = 0

    def add(self, told: dict[str, Any], seconds: float) -> None:
        """What a worker has told in its last line."""
        self.conversations += told["done"]
        self.units += told["units"]
        self.bytes_sent += told["bytes_sent"]
        self.refused += told["refused"]
        self.answers += told["answers"]
        self.seconds = round(self.seconds + seconds, 1)
        self.slowest_s = max(self.slowest_s, told["slowest_s"])
        for end, count in told["ends"].items():
            self.ends[end] = self.ends.get(end, 0) + count
        self.odd = (self.odd + told["odd"])[:20]
        self.odd_total += told["odd_total"]


class Campaign:
    """One run in `out`, which goes on from where the last one in it has stopped if `progress.json` is there."""

    def __init__(self, target: Target, out: Path, say: Say) -> None:
        self.target = target
        self.out = out
        self.say = say
        self.arms = {arm: Arm() for arm in ("peer", "http", "redis")}
        self.api: dict[str, Any] = {"requests": 0, "runs": 0, "failures": "", "seconds": 0.0}
        self.problem: str | None = None
        self._progress = out / "progress.json"
        if self._progress.exists():
            told = json.loads(self._progress.read_text())
            self.arms = {arm: Arm(**each) for arm, each in told["arms"].items()}
            self.api = told["api"]
            say(f"goes on: {self._short()}")

    async def run(self) -> dict[str, Any]:
        """The summary, which is in `out`/summary.json, too."""
        cluster = await asyncio.to_thread(self._cluster)
        try:
            return await self._on(cluster)
        finally:
            await asyncio.to_thread(cluster.down)

    def _cluster(self) -> Cluster:
        number = 1
        while (home := self.out / f"cluster-{number}").exists():
            number += 1
        env = {"KV_TOKEN_SECONDS": "86400"}
        cluster = bring_up(home, 3, env=env, redis=True, tls=self.target.tls)
        if cluster.topology.tls is not None:
            names = [f"{STRANGER}-{number}" for number in range(STRANGERS)]
            authority.make_node(cluster.topology.tls.directory, STRANGER, hosts=[*names, HOST])
        return cluster

    async def _on(self, cluster: Cluster) -> dict[str, Any]:
        began = time.monotonic()
        tokens = await _close_doors(cluster)

        def root(endpoints: Sequence[str]) -> AsyncClient:
            return AsyncClient(endpoints, token=tokens["root"], tls=cluster.tls, timeout_s=10.0)

        eyes, load, stop = Eyes(cluster), Load(root, cluster.endpoints, self.target.rate_hz), asyncio.Event()
        async with root(cluster.endpoints) as client:
            await _move_leaders(client, cluster)
            told = await _facts(cluster, client, tokens)
        (self.out / "facts.json").write_text(json.dumps(told, indent=1))
        await load.start()
        looking = asyncio.create_task(eyes.run(stop))
        before = eyes.counters()
        risen_by: dict[str, dict[str, int]] = {}
        ledger = load.ledger

        async def phase(name: str, allowed: Callable[[bytes], bool], work: Callable[[], Awaitable[None]]) -> None:
            nonlocal before
            await load.phase(name, allowed)
            doing = asyncio.ensure_future(work())
            await asyncio.wait({doing, looking}, return_when=asyncio.FIRST_COMPLETED)
            load.check()
            if looking.done():
                doing.cancel()
                looking.result()
            await doing
            after = await asyncio.to_thread(eyes.counters)
            risen_by[name] = risen(before, after)
            before = after

        try:
            await phase("peer", lambda _key: False, lambda: self._arm("peer", self.target.frames, told))
            marker = HTTP_KEY.encode()
            await phase("http", lambda key: marker in key, lambda: self._arm("http", self.target.requests, told))
            await phase("redis", lambda key: REDIS_KEY in key, lambda: self._arm("redis", self.target.commands, told))
            await phase("api", lambda _key: True, lambda: self._ask_by_document(cluster, tokens["api"]))
            await load.phase("end", lambda key: not key.startswith(PREFIX))  # what has a lease may end now
            await load.stop()
        except NodeDied as died:
            self.problem = str(died)
        else:
            async with root(cluster.endpoints) as client:
                self.problem = await _settled(client, ledger.last)
        stop.set()
        await asyncio.gather(looking, return_exceptions=True)
        summary = self._summary(eyes, load, risen_by, time.monotonic() - began)
        (self.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
        (self.out / "memory.json").write_text(json.dumps(eyes.samples) + "\n")
        return summary

    # Attacks.

    async def _arm(self, arm: str, wanted: int, told: dict[str, Any]) -> None:
        done = self.arms[arm]
        while done.units < wanted and done.odd_total < 1_000:
            per = done.units / done.conversations if done.conversations else {"peer": 8, "http": 2, "redis": 3}[arm]
            last = done.next + min(SLICE[arm], int((wanted - done.units) / per) + 1)
            await self._slice(arm, done.next, last, told)
            done.next = last
            self._save()
            self.say(self._short())

    async def _slice(self, arm: str, first: int, last: int, told: dict[str, Any]) -> None:
        begun = time.monotonic()
        command = [sys.executable, "-m", "tests.fuzz.worker", arm, "--seed", str(self.target.seed)]
        command += ["--first", str(first), "--last", str(last)]
        worker = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(json.dumps(told).encode())
            worker.stdin.close()
            line: dict[str, Any] = {}
            async for text in worker.stdout:
                line = json.loads(text)
            await worker.wait()
        finally:
            if worker.returncode is None:
                worker.kill()
        if not line.get("over"):
            raise RuntimeError(f"the worker ended with {worker.returncode} before it was done")
        self.arms[arm].add(line, time.monotonic() - begun)

    async def _ask_by_document(self, cluster: Cluster, token: str) -> None:
        """Schemathesis: requests made from /openapi.json."""
        config = self.out / "schemathesis.toml"
        config.write_text(CONFIG.read_text().replace("[400, 401,", "[400, 401, 403,"))
        while self.api["requests"] < self.target.api_requests and not self.api["failures"]:
            run = self.api["runs"]
            node = cluster.topology.nodes[run % len(cluster.topology.nodes)]
            folder = self.out / f"api-{run}"
            folder.mkdir(exist_ok=True)
            left = self.target.api_requests - self.api["requests"]
            # The boundary cases are those of tests/e2e/test_openapi.py. A watch is read for two seconds: few of them.
            options = ["--suppress-health-check", "all", "--exclude-method", "HEAD"]
            options += ["--phases", "fuzzing", "--workers", str(API_AT_ONCE)]
            options += ["--exclude-path-regex", API_LEFT_OUT if run == 0 else f"{API_LEFT_OUT}|/v1/watch"]
            options += ["--max-examples", "5" if run == 0 else str(max(3, min(200, left // 20)))]
            options += ["--header", f"Authorization: Bearer {token}"]
            if self.target.tls:
                options += ["--tls-verify", "false"]
            begun = time.monotonic()
            ran: Fuzzed = await asyncio.to_thread(
                fuzz,
                node.http,
                folder,
                *options,
                seed=self.target.seed + run,
                bound_s=3_600,
                timeout_ms=300,
                config=config,
            )
            self.api["runs"] += 1
            self.api["requests"] += ran.cases
            self.api["failures"] = ran.failures[-4_000:]
            self.api["seconds"] = round(self.api["seconds"] + time.monotonic() - begun, 1)
            self._save()
            self.say(self._short())

    def _save(self) -> None:
        told = {"arms": {name: arm.__dict__ for name, arm in self.arms.items()}, "api": self.api}
        new = self._progress.with_suffix(".new")
        new.write_text(json.dumps(told))
        new.replace(self._progress)

    def _short(self) -> str:
        units = {"peer": "frames", "http": "requests", "redis": "commands"}
        parts = [f"{arm.units:,} {units[name]}" for name, arm in self.arms.items()]
        odd = sum(arm.odd_total for arm in self.arms.values())
        return f"{', '.join(parts)}, {self.api['requests']:,} requests by document; {odd} odd ends"

    # Verdict.

    def _summary(self, eyes: Eyes, load: Load, risen_by: dict[str, dict[str, int]], seconds: float) -> dict[str, Any]:
        ledger = load.ledger
        memory = eyes.memory()
        summary: dict[str, Any] = {
            "target": self.target.__dict__,
            "seconds": round(seconds, 1),
            "arms": {name: arm.__dict__ for name, arm in self.arms.items()},
            "api": self.api,
            "counters_risen_by": risen_by,
            "memory": memory,
            "slowest_livez_s": round(eyes.slowest_answer_s, 3),
            "log_bytes": eyes.log_bytes(),
            "unexpected_in_logs": eyes.unexpected(),
            "load": {
                "writes_acknowledged": ledger.writes,
                "writes_failed": dict(ledger.failed),
                "changes_seen": len(ledger.seen),
                "acknowledged_and_lost": len(ledger.lost()),
                "longest_gap_s": round(ledger.longest_gap_s, 2),
                "changes_by_the_fuzzer": dict(ledger.foreign),
                "changes_unasked_for": ledger.unasked_total,
                "examples": ledger.unasked,
            },
            "problem": self.problem,
        }
        summary["wrong"] = wrong(summary)
        return summary


def wrong(summary: dict[str, Any]) -> list[str]:
    """Why the run is no success; empty if it is one."""
    found = [summary["problem"]] if summary["problem"] else []
    load, risen_by = summary["load"], summary["counters_risen_by"]
    for name, arm in summary["arms"].items():
        if arm["odd_total"]:
            found.append(f"{arm['odd_total']} conversations of {name} did not end as they have to: {arm['odd'][:3]}")
    if summary["api"]["failures"]:
        found.append("schemathesis has found something")
    if load["changes_unasked_for"]:
        found.append(f"{load['changes_unasked_for']} changes that nobody asked for: {load['examples'][:3]}")
    if load["acknowledged_and_lost"]:
        found.append(f"{load['acknowledged_and_lost']} acknowledged writes were lost")
    if not load["writes_acknowledged"]:
        found.append("there was no load")
    if load["longest_gap_s"] > GAP_S_MAX:
        found.append(f"for {load['longest_gap_s']} s no write was acknowledged")
    for node, told in summary["memory"].items():
        if told["rss_mib_most"] > RSS_MIB_MAX:
            found.append(f"{node} has had {told['rss_mib_most']} MiB")
    if summary["unexpected_in_logs"]:
        found.append(f"in the logs: {summary['unexpected_in_logs']}")
    return found + _uncounted(summary, risen_by.get("peer", {}))


def _uncounted(summary: dict[str, Any], risen_by: dict[str, int]) -> list[str]:
    """Ends that the nodes have not counted. Those of an earlier run counted on nodes that are no more."""
    ends = summary["arms"]["peer"]["ends"]
    found = []
    for end, counter in (
        ("bad", "kv_peer_bad_frames_total"),
        ("truncated", "kv_peer_truncated_frames_total"),
        ("refused", "kv_peer_refused_handshakes_total"),
        ("late", "kv_peer_late_handshakes_total"),
    ):
        if ends.get(end, 0) and not risen_by.get(counter, 0):
            found.append(f"{counter} has not risen, for {ends[end]} that ended so")
    return found


async def _close_doors(cluster: Cluster) -> dict[str, str]:
    """Enable auth; a token of root, and of one user for each arm, who may touch what is its own."""
    async with AsyncClient(cluster.endpoints, tls=cluster.tls) as client:
        await client.enable_auth(PASSWORD)
    tokens = {}
    async with AsyncClient(cluster.endpoints, user="root", password=PASSWORD, tls=cluster.tls) as client:
        everything = ("read", "write", "delete", "watch")
        for user, start, end in (
            ("http", HTTP_KEY.encode(), HTTP_KEY.encode() + b"\xff"),
            ("redis", REDIS_KEY, REDIS_KEY + b"\xff"),
            ("api", b"\0", PREFIX),
            ("api", PREFIX[:-1] + b"0", None),
        ):
            if user not in tokens:
                await client.add_role(user)
                await client.add_user(user, PASSWORD)
                await client.grant_role(user, user)
                await client.grant_permission(user, ("lease",), prefix=b"")
                tokens[user], _ = await client.get_token(user, PASSWORD)
            await client.grant_permission(user, everything, start=start, end=end)
        await client.grant_permission("api", ("read", "watch"), prefix=b"")
        tokens["root"], _ = await client.get_token("root", PASSWORD)
    return tokens


async def _move_leaders(client: AsyncClient, cluster: Cluster) -> None:
    """Some terms pass, so that there are some that are over."""
    for name in (*cluster.topology.names, cluster.topology.names[0]):
        if (await client.cluster()).leader != name:
            await client.transfer_leader(name)


async def _facts(cluster: Cluster, client: AsyncClient, tokens: dict[str, str]) -> dict[str, Any]:
    document = await client.cluster_document()
    nodes = cluster.topology.nodes
    identities = {
        node.name: json.loads((cluster.topology.data_dir(node.name) / "identity.json").read_text())["identity"]
        for node in nodes
    }
    tls: dict[str, Any] | None = None
    if (files := cluster.topology.tls) is not None:
        tls = {
            who: {"ca": str(files.ca), "cert": str(cert), "key": str(key)}
            for who, (cert, key) in (("client", files.client), ("stranger", files.node(STRANGER)))
        }
    return {
        "cluster_id": document["cluster_id"],
        "members": identities,
        "floor": int(document["term"]),
        "stranger": STRANGER,
        "strangers": STRANGERS,
        "peer_ports": {node.name: node.peer_port for node in nodes},
        "http_ports": {node.name: node.http_port for node in nodes},
        "redis_ports": {node.name: node.redis_port for node in nodes},
        "tokens": tokens,
        "tls": tls,
    }


async def _settled(client: AsyncClient, last: dict[bytes, bytes | None]) -> str | None:
    """Why the nodes do not agree in the end, or do not hold what was written last; None if all is well."""
    rng = random.Random(0)
    deadline = time.monotonic() + SETTLE_S_MAX
    while True:
        view = await client.cluster()
        digests = {member.digest["value"] if member.digest else None for member in view.members}
        if len(digests) == 1 and None not in digests:
            break
        if time.monotonic() > deadline:
            return f"the nodes hold different contents: {digests}"
        await asyncio.sleep(rng.uniform(0.1, 0.3))  # nothing tells when all have applied the same
    held = {key: record.value async for key, record in client.scan(prefix=PREFIX)}
    if held != last:
        differs = [key for key in held.keys() | last.keys() if held.get(key) != last.get(key)]
        return f"{len(differs)} keys hold something else than the watch has seen: {differs[:3]}"
    return None
