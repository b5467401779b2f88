"""One write at one level by a client that tries every node, as plain HTTP, until a deadline.

The nodes are asked one after the other. One that refuses is passed over at once; one that is silent is passed over
after PATIENCE_S, but its answer still counts if it comes before the deadline. All attempts carry one idempotency key,
so that the write takes effect once. After a round of nothing but refusals there is another one, until the deadline, for
an election may be under way; but refusals which waiting does not change are believed when two whole rounds were such.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

from kvjepsen.odds.observation import Outcome
from kvjepsen.plain import Answer, Connection

PATIENCE_S: Final = 0.25
_ROUND_PAUSE_S: Final = 0.05
_SETTLED: Final = frozenset({"no_quorum", "members_unreachable", "nobody_listens"})
_SETTLED_ROUNDS: Final = 2


class Attempt(NamedTuple):
    """How it went at one node. `code` is that of the problem; `receipt` that of a write at ONE."""

    outcome: Outcome
    code: str = ""
    receipt: str | None = None


class Written(NamedTuple):
    """How the write ended, with the key and value that it had."""

    key: str
    value: bytes
    outcome: Outcome
    receipt: str | None


async def ask(
    port: int, method: str, target: str, timeout_s: float, body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer:
    """One request on a connection of its own. Raises OSError, EOFError or TimeoutError."""
    async with asyncio.timeout(timeout_s):
        connection = await Connection.open(port)
        try:
            return await connection.ask(method, target, body, headers or {})
        finally:
            connection.close()


async def write(ports: Sequence[int], level: str, stem: str, deadline_s: float) -> Written:
    """Write a new key, asking the nodes at `ports` in this order. Never raises for what a node does or does not do."""
    key, value = f"{stem}/{level}", secrets.token_hex(16).encode()
    until = asyncio.get_running_loop().time() + deadline_s
    attempts: list[Attempt] = []
    settled = 0
    while ports and settled < _SETTLED_ROUNDS:
        this_round = await _round(ports, key, value, level, until)
        attempts += this_round
        if this_round[-1].outcome == "acknowledged":
            return Written(key, value, "acknowledged", this_round[-1].receipt)
        all_settled = all(each.outcome == "refused" and each.code in _SETTLED for each in this_round)
        settled = settled + 1 if all_settled else 0
        if asyncio.get_running_loop().time() + _ROUND_PAUSE_S >= until:
            break
        await asyncio.sleep(_ROUND_PAUSE_S)
    unknown = any(each.outcome == "unknown" for each in attempts)
    return Written(key, value, "unknown" if unknown else "refused", None)


async def _round(ports: Sequence[int], key: str, value: bytes, level: str, until: float) -> list[Attempt]:
    """Every node once; the last attempt is the one that was acknowledged, if one was."""
    loop = asyncio.get_running_loop()
    open_tasks: set[asyncio.Task[Attempt]] = set()
    ended: list[Attempt] = []
    waiting = list(ports)
    try:
        while waiting or open_tasks:
            if waiting:
                left_s = max(until - loop.time(), 0.001)
                open_tasks.add(asyncio.create_task(_attempt(waiting.pop(0), key, value, level, left_s)))
            done, open_tasks = await asyncio.wait(
                open_tasks, timeout=PATIENCE_S if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            # What was acknowledged goes last.
            ended += sorted((task.result() for task in done), key=lambda each: each.outcome == "acknowledged")
            if ended and ended[-1].outcome == "acknowledged":
                break
    finally:
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)
    return ended


async def _attempt(port: int, key: str, value: bytes, level: str, left_s: float) -> Attempt:
    target = f"/v1/kv/{key}?level={level}&timeout_ms={max(int(left_s * 1000), 1)}"
    connection: Connection | None = None
    try:
        async with asyncio.timeout(left_s):
            connection = await Connection.open(port)
            return _judged(await connection.ask("PUT", target, value, {"Idempotency-Key": key}))
    except (OSError, EOFError, TimeoutError):
        # Without a connection nothing was sent; with one, nobody knows.
        return Attempt("refused", "nobody_listens") if connection is None else Attempt("unknown", "silent")
    finally:
        if connection is not None:
            connection.close()


def _judged(answer: Answer) -> Attempt:
    if answer.status in (200, 202):
        return Attempt("acknowledged", receipt=answer.json().get("receipt"))
    try:
        problem = answer.json()
        refused = problem["outcome"] == "not_applied"
        return Attempt("refused" if refused else "unknown", str(problem["code"]))
    except (json.JSONDecodeError, KeyError, TypeError):
        return Attempt("unknown", f"status {answer.status}")
