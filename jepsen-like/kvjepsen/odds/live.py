"""One trial on a real cluster.

All voters healthy and caught up -> the leader inside or outside of the subset -> the subset fails -> a fixed time to
settle -> one write per level -> everything is restored -> what was acknowledged is looked for.

The time to settle depends on the election timeouts alone: the leader notices the loss of its majority within one, an
election ends within another, and SETTLE_ELECTIONS leaves as much again as half of one. Whether the writes are served
has no part in it.

The writes at ALL and QUORUM go first, at the same time; that at ONE follows when both have ended. An earlier write at
ONE could hold up one at ALL, which waits until every voter has applied its pending ones, and none of the others can
hold up a write at ONE, which needs nothing but its node's disk. ALL and QUORUM do not wait for each other.
"""

import asyncio
import base64
import time
from dataclasses import dataclass
from typing import Any, Final

from kvcluster import faults
from kvcluster.supervisor import Cluster, NotReady
from kvjepsen.odds.observation import Observation
from kvjepsen.odds.plan import Fault, Trial
from kvjepsen.odds.writing import Written, ask, write
from kvstore.config import SETTINGS

SETTLE_ELECTIONS: Final = 2.5
HEALTHY_S_MAX: Final = 30.0
_DEADLINE_S: Final = 2.0
_ASK_S: Final = 1.0
_POLL_S: Final = 0.02


def settle_s(election_ms_max: int) -> float:
    """How long to wait after the fault, and before the writes."""
    return SETTLE_ELECTIONS * election_ms_max / 1_000


@dataclass(slots=True)
class Live:
    """Trials on one cluster, one after the other. With `isolate` it needs link proxies, unless it has one node."""

    cluster: Cluster
    fault: Fault
    election_ms_max: int
    deadline_s: float = _DEADLINE_S

    async def carry_out(self, trial: Trial) -> Observation:
        """Raises NotReady if the cluster is not healthy before or after it."""
        begun = time.monotonic()
        leader = await self._place_leader(trial)
        await self._fail(trial)
        await asyncio.sleep(settle_s(self.election_ms_max))
        written = await self._write(trial)
        await self._restore(trial)
        await self.healthy()
        wrong = await self._verify(written)
        outcomes = {level: each.outcome for level, each in written.items()}
        return Observation(trial, leader, outcomes, wrong, round(time.monotonic() - begun, 2))

    # Before it.

    async def healthy(self) -> str:
        """Wait until all nodes name one leader, reach each other, and have applied everything; who leads."""
        until = time.monotonic() + HEALTHY_S_MAX
        while True:
            views = await asyncio.gather(*(self._view(name) for name in self.cluster.topology.names))
            leader, why = _health(views)
            if leader is not None:
                return leader
            if time.monotonic() >= until:
                raise NotReady(f"the cluster is not healthy after {HEALTHY_S_MAX:g} s: {why}")
            await asyncio.sleep(_POLL_S)

    async def _place_leader(self, trial: Trial) -> str:
        until = time.monotonic() + HEALTHY_S_MAX
        wanted = [name for name in self.cluster.topology.names if (name in trial.failed) == trial.leader_failed]
        while (leader := await self.healthy()) not in wanted:
            if time.monotonic() >= until:
                raise NotReady(f"leadership did not pass from {leader} to {' or '.join(wanted)}")
            try:
                body = b'{"name": "%s"}' % wanted[0].encode()
                await ask(self._port(leader), "POST", "/v1/cluster/leader?timeout_ms=1000", _ASK_S, body)
            except (OSError, EOFError, TimeoutError):
                continue  # who leads is asked again in any case
        return leader

    async def _view(self, name: str) -> dict[str, Any] | None:
        try:
            answer = await ask(self._port(name), "GET", "/v1/cluster", _ASK_S)
            return answer.json() if answer.status == 200 else None
        except (OSError, EOFError, TimeoutError, ValueError):
            return None

    def _port(self, name: str) -> int:
        return self.cluster.topology.node(name).http_port

    # The fault.

    async def _fail(self, trial: Trial) -> None:
        match self.fault:
            case "kill":
                await asyncio.gather(*(asyncio.to_thread(self.cluster.kill, name) for name in trial.failed))
            case "pause":
                await asyncio.gather(*(asyncio.to_thread(self.cluster.pause, name) for name in trial.failed))
            case "isolate" if trial.failed and trial.n > 1:
                rest = [name for name in self.cluster.topology.names if name not in trial.failed]
                groups = "|".join([*trial.failed, *([",".join(rest)] if rest else [])])
                await asyncio.to_thread(faults.partition, self.cluster.topology, groups)

    async def _restore(self, trial: Trial) -> None:
        match self.fault:
            case "kill":
                await asyncio.to_thread(self._start, trial.failed)
            case "pause":
                await asyncio.gather(*(asyncio.to_thread(self.cluster.resume, name) for name in trial.failed))
            case "isolate" if trial.failed and trial.n > 1:
                await asyncio.to_thread(faults.heal, self.cluster.topology)

    def _start(self, failed: tuple[str, ...]) -> None:
        for name in failed:
            self.cluster.start(name)
        self.cluster.wait_ready(failed, HEALTHY_S_MAX)

    # The writes.

    async def _write(self, trial: Trial) -> dict[str, Written]:
        # Who is isolated is cut off from clients too.
        asked = [name for name in self.cluster.topology.names if self.fault != "isolate" or name not in trial.failed]
        turn = (len(trial.failed) + trial.number) % max(len(asked), 1)
        ports = [self._port(name) for name in asked[turn:] + asked[:turn]]
        stem = f"odds/{trial.id}/{time.monotonic_ns():x}"
        every, quorum = await asyncio.gather(
            *(write(ports, level, stem, self.deadline_s) for level in ("all", "quorum"))
        )
        one = await write(ports, "one", stem, self.deadline_s)
        return {"one": one, "quorum": quorum, "all": every}

    async def _verify(self, written: dict[str, Written]) -> list[str]:
        """What was acknowledged must be there, what was refused must not; a write at ONE must be committed."""
        wrong: list[str] = []
        for level, each in written.items():
            if each.outcome == "unknown":
                continue
            found = await self._read(each.key)
            if each.outcome == "acknowledged" and found != each.value:
                wrong.append(f"{level}: {each.key} was acknowledged and is {'gone' if found is None else 'altered'}")
            if each.outcome == "refused" and found is not None:
                wrong.append(f"{level}: {each.key} was refused as not applied, and is there")
            if each.receipt is not None and (state := await self._receipt(each.receipt)) != "committed":
                wrong.append(f"{level}: {each.key} has a receipt that says {state}")
        return wrong

    async def _read(self, key: str) -> bytes | None:
        answer = await self._ask_any("GET", f"/v1/kv/{key}?level=quorum", frozenset({200, 404}))
        return answer["value"] if answer is not None else None

    async def _receipt(self, receipt: str) -> str:
        until = time.monotonic() + HEALTHY_S_MAX
        while True:
            answer = await self._ask_any("GET", f"/v1/receipts/{receipt}", frozenset({200}))
            state = str(answer["state"]) if answer is not None else "nothing"
            if state != "pending" or time.monotonic() >= until:
                return state
            await asyncio.sleep(_POLL_S)

    async def _ask_any(self, method: str, target: str, wanted: frozenset[int]) -> dict[str, Any] | None:
        """The JSON of the first node that answers so, None for a 404. A record's `value` is decoded."""
        until = time.monotonic() + HEALTHY_S_MAX
        while True:
            for name in self.cluster.topology.names:
                try:
                    headers = {"Accept": "application/json"}
                    answer = await ask(self._port(name), method, target, HEALTHY_S_MAX, headers=headers)
                except (OSError, EOFError, TimeoutError):
                    continue
                if answer.status in wanted:
                    return _decoded(answer.json()) if answer.status == 200 else None
            if time.monotonic() >= until:
                raise NotReady(f"no node answers {method} {target} after {HEALTHY_S_MAX:g} s")
            await asyncio.sleep(_POLL_S)


def election_settings() -> dict[str, str]:
    """The election timeouts of the nodes as variables for them, so that nothing else decides them: the defaults."""
    return {f"KV_{each.name.upper()}": str(each.default) for each in SETTINGS if each.name.startswith("election_ms_")}


def _decoded(document: dict[str, Any]) -> dict[str, Any]:
    if "value_base64" in document:
        document["value"] = base64.b64decode(document["value_base64"])
    return document


def _health(views: list[dict[str, Any] | None]) -> tuple[str | None, str]:
    """The leader if everything is well, else None and what is not."""
    whole = [view for view in views if view is not None]
    if len(whole) < len(views):
        return None, f"{len(views) - len(whole)} nodes do not answer"
    leaders = {(view["leader"], view["term"]) for view in whole}
    leader = next(iter(leaders))[0]
    if len(leaders) > 1 or leader is None:
        return None, f"the nodes name {sorted(str(name) for name, _ in leaders)} as leaders"
    floor = max(view["commit_index"] for view in whole)
    for view in whole:
        for member in view["members"]:
            if not (member["voter"] and member["reachable"]):
                return None, f"{view['node']} does not reach {member['name']} as a voter"
            behind = (member["applied_index"] or 0) < floor or member["intents_pending"]
            if member["name"] == view["node"] and behind:
                return None, f"{view['node']} has not caught up"
    return leader, ""
