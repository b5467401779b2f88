"""How long nobody can write when the leader is killed, measured apart from the trials; see kvjepsen/failover.py.

The trials leave it out: they wait for the longest election before they write.
"""

import statistics
import time
from collections.abc import Callable, Sequence
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
    until = time.monotonic() + budget_s
    if len(results.failovers_s) >= rounds or budget_s <= 0:
        return
    try:
        async with benches(n) as bench:
            measured = Failover(bench.cluster, WRITERS, ATTEMPT_S, progress)
            # Round by round: one that has begun is not broken off in the middle of a restart.
            while len(results.failovers_s) < rounds and time.monotonic() < until:
                await measured.run(1, 0)
                results.add_failover(n, measured.gaps_s["kill"][-1])
    except LocalError as broken:
        results.add_problem(f"failover of {n} nodes: {broken}")


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
