"""One write at one level by a client that tries every node, until a deadline.

The nodes are asked one after the other. One that refuses is passed over at once; one that is silent is passed over
after `patience_s`, but its answer still counts if it comes before the deadline. All attempts carry one idempotency key,
so that the write takes effect once. After a round of nothing but refusals there is another one, until the deadline, for
an election may be under way; but refusals which waiting does not change are believed when two whole rounds were such.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple

from kvjepsen.odds.observation import Outcome

PATIENCE_S: Final = 0.25
NOBODY_LISTENS: Final = "nobody_listens"
_ROUND_PAUSE_S: Final = 0.05
_SETTLED: Final = frozenset({"no_quorum", "members_unreachable", NOBODY_LISTENS})
_SETTLED_ROUNDS: Final = 2


class Attempt(NamedTuple):
    """How it went at one node. `code` is that of the problem; `receipt` that of a write at ONE."""

    outcome: Outcome
    code: str = ""
    receipt: str | None = None


# Node, key, value, level, and how many seconds are left.
Attempting = Callable[[str, str, bytes, str, float], Awaitable[Attempt]]


class Written(NamedTuple):
    """How the write ended, with the key and value that it had."""

    key: str
    value: bytes
    outcome: Outcome
    receipt: str | None


async def write(
    attempt: Attempting,
    names: Sequence[str],
    level: str,
    stem: str,
    deadline_s: float,
    patience_s: float = PATIENCE_S,
) -> Written:
    """Write the new key `stem`/`level`, asking the nodes in this order."""
    key = f"{stem}/{level}"
    value = f"{key} written".encode()
    loop = asyncio.get_running_loop()
    until = loop.time() + deadline_s
    attempts: list[Attempt] = []
    settled = 0

    async def begin(name: str) -> Attempt:
        return await attempt(name, key, value, level, max(until - loop.time(), 0.001))

    while names and settled < _SETTLED_ROUNDS:
        this_round = await _round(begin, names, patience_s)
        attempts += this_round
        if this_round[-1].outcome == "acknowledged":
            return Written(key, value, "acknowledged", this_round[-1].receipt)
        all_settled = all(each.outcome == "refused" and each.code in _SETTLED for each in this_round)
        settled = settled + 1 if all_settled else 0
        if loop.time() + _ROUND_PAUSE_S >= until:
            break
        await asyncio.sleep(_ROUND_PAUSE_S)
    unknown = any(each.outcome == "unknown" for each in attempts)
    return Written(key, value, "unknown" if unknown else "refused", None)


async def _round(begin: Callable[[str], Awaitable[Attempt]], names: Sequence[str], patience_s: float) -> list[Attempt]:
    """Every node once, until one has acknowledged; that attempt is the last."""
    open_tasks: set[asyncio.Future[Attempt]] = set()
    ended: list[Attempt] = []
    waiting = list(names)
    try:
        while waiting or open_tasks:
            if waiting:
                open_tasks.add(asyncio.ensure_future(begin(waiting.pop(0))))
            done, open_tasks = await asyncio.wait(
                open_tasks, timeout=patience_s if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            ended += sorted((task.result() for task in done), key=lambda each: each.outcome == "acknowledged")
            if ended and ended[-1].outcome == "acknowledged":
                break
    finally:
        for task in open_tasks:
            task.cancel()
        await asyncio.gather(*open_tasks, return_exceptions=True)
    return ended
