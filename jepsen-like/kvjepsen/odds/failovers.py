"""How long nobody can write when the leader is killed, measured apart from the trials; see kvjepsen/failover.py.

The trials leave it out: they wait for the longest election before they write.
"""

import asyncio
import statistics
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from kvjepsen.failover import Failover
from kvjepsen.odds.clusters import LiveBenches
from kvjepsen.odds.observation import Results
from kvstore.availability import nearest_rank_percentile
from kvstore.errors import LocalError

WRITERS: Final = 2
ATTEMPT_S: Final = 0.1


async def measure(
    results: Results, benches: LiveBenches, n: int, rounds: int, budget_s: float, progress: Callable[[str], None]
) -> None:
    """Kill the leader of a cluster of n until `results` has `rounds` gaps, or the budget is used up."""
    left = rounds - len(results.failovers_s)
    if left <= 0 or budget_s <= 0:
        return
    measured: Failover | None = None
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(budget_s), benches(n) as bench:
                measured = Failover(bench.cluster, WRITERS, ATTEMPT_S, progress)
                await measured.run(left, 0)
    except LocalError as broken:
        results.add_problem(f"failover of {n} nodes: {broken}")
    for gap_s in measured.gaps_s["kill"] if measured is not None else []:
        results.add_failover(n, gap_s)


def summary(gaps_s: Sequence[float]) -> dict[str, Any] | None:
    """`failover_s` of odds.json: seconds from SIGKILL to the next acknowledged write; None if nothing was measured."""
    if not gaps_s:
        return None
    return {
        "rounds": len(gaps_s),
        "median": round(statistics.median(gaps_s), 3),
        "p99": round(nearest_rank_percentile(gaps_s, 99), 3),
        "worst": round(max(gaps_s), 3),
    }
