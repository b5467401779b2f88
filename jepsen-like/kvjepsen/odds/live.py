"""A real cluster as the ground of trials: processes that are killed, paused or isolated, and asked over plain HTTP."""

import asyncio
import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kvcluster import faults
from kvcluster.supervisor import Cluster
from kvjepsen.odds.health import Health, health
from kvjepsen.odds.observation import Observation
from kvjepsen.odds.plan import Fault, Trial
from kvjepsen.odds.trial import HEALTHY_S_MAX, NoAnswer, carry_out
from kvjepsen.odds.writing import NOBODY_LISTENS, Attempt
from kvjepsen.plain import Answer, Connection
from kvjepsen.threads import in_thread
from kvstore.client.results import parse_cluster
from kvstore.config import SETTINGS
from kvstore.model.results import ClusterView

_ASK_S: Final = 1.0
_READ_S: Final = 5.0
_JSON: Final = {"Accept": "application/json"}


def election_settings() -> dict[str, str]:
    """The election timeouts of the nodes as variables for them, so that nothing else decides them: the defaults."""
    return {each.env: str(each.default) for each in SETTINGS if each.name.startswith("election_ms_")}


@dataclass(frozen=True, slots=True)
class Live:
    """One cluster. To isolate nodes it needs link proxies, unless it has one node only."""

    cluster: Cluster
    fault: Fault
    election_ms_max: int

    async def carry_out(self, trial: Trial) -> Observation:
        """Raises LocalError if the cluster is not healthy before it or after it."""
        return await carry_out(self, trial, self.fault, self.election_ms_max)

    @property
    def names(self) -> Sequence[str]:
        return self.cluster.topology.names

    async def health(self) -> Health:
        return health(await asyncio.gather(*(self._view(name) for name in self.names)))

    async def _view(self, name: str) -> ClusterView | None:
        try:
            answer = await self._ask(name, "GET", "/v1/cluster", _ASK_S)
        except NoAnswer:
            return None
        return parse_cluster(answer.json()) if answer.status == 200 else None

    async def transfer(self, leader: str, to: str) -> None:
        try:
            await self._ask(leader, "POST", "/v1/cluster/leader", _ASK_S, json.dumps({"name": to}).encode())
        except NoAnswer:
            return  # who leads is asked next in any case

    async def fail(self, failed: Sequence[str], fault: Fault) -> None:
        if fault == "isolate":
            if failed and len(self.names) > 1:
                await in_thread(faults.partition, self.cluster.topology, self._groups(failed))
            return
        stop = self.cluster.kill if fault == "kill" else self.cluster.pause
        await asyncio.gather(*(in_thread(stop, name) for name in failed))

    async def restore(self, failed: Sequence[str], fault: Fault) -> None:
        if fault == "isolate":
            if failed and len(self.names) > 1:
                await in_thread(faults.heal, self.cluster.topology)
        elif fault == "pause":
            await asyncio.gather(*(in_thread(self.cluster.resume, name) for name in failed))
        else:
            await in_thread(self._start, failed)

    async def revive(self, name: str) -> None:
        """Start `name` again, without waiting until it serves."""
        await in_thread(self.cluster.start, name)

    def _groups(self, failed: Sequence[str]) -> str:
        """Everyone of them alone, the rest together."""
        rest = ",".join(name for name in self.names if name not in failed)
        return "|".join([*failed, rest] if rest else failed)

    def _start(self, failed: Sequence[str]) -> None:
        for name in failed:
            self.cluster.start(name)
        self.cluster.wait_ready(failed, HEALTHY_S_MAX)

    async def attempt(self, name: str, key: str, value: bytes, level: str, left_s: float) -> Attempt:
        target = f"/v1/kv/{key}?level={level}&timeout_ms={max(int(left_s * 1000), 1)}"
        connection: Connection | None = None
        try:
            async with asyncio.timeout(left_s):
                connection = await Connection.open(self.cluster.topology.node(name).http_port)
                return _judged(await connection.ask("PUT", target, value, {"Idempotency-Key": key}))
        except (OSError, EOFError, TimeoutError):
            # Without a connection nothing was sent; with one, nobody knows.
            return Attempt("refused", NOBODY_LISTENS) if connection is None else Attempt("unknown", "silent")
        finally:
            if connection is not None:
                connection.close()

    async def read(self, name: str, key: str) -> bytes | None:
        answer = await self._ask(name, "GET", f"/v1/kv/{key}?level=quorum", _READ_S)
        if answer.status == 404:
            return None
        return base64.b64decode(_wanted(answer).json()["value_base64"])

    async def receipt(self, name: str, receipt: str) -> str:
        return str(_wanted(await self._ask(name, "GET", f"/v1/receipts/{receipt}", _READ_S)).json()["state"])

    async def _ask(self, name: str, method: str, target: str, timeout_s: float, body: bytes = b"") -> Answer:
        try:
            async with asyncio.timeout(timeout_s):
                connection = await Connection.open(self.cluster.topology.node(name).http_port)
                try:
                    return await connection.ask(method, target, body, _JSON)
                finally:
                    connection.close()
        except (OSError, EOFError, TimeoutError) as error:
            raise NoAnswer(f"{name} does not answer {method} {target}: {error!r}") from error


def _wanted(answer: Answer) -> Answer:
    if answer.status != 200:
        raise NoAnswer(f"status {answer.status}: {answer.body[:200]!r}")
    return answer


def _judged(answer: Answer) -> Attempt:
    if answer.status in (200, 202):
        return Attempt("acknowledged", receipt=answer.json()["receipt"])
    try:
        problem = answer.json()
        refused = problem["outcome"] == "not_applied"
        return Attempt("refused" if refused else "unknown", str(problem["code"]))
    except (ValueError, KeyError, TypeError):
        return Attempt("unknown", f"status {answer.status}")
