"""A command whose application raises an exception; the ticks go on as the engine's own thread lets them."""

from typing import Any

from pysyncobj import replicated

from regressions.stock import bench as benches
from regressions.stock.bench import Bench, verdict

attempts = 0


class Failing(benches.Store):
    @replicated
    def fail(self) -> Any:
        global attempts
        attempts += 1
        raise ValueError("this cannot be applied")


benches.Store = Failing  # type: ignore[misc]
bench = Bench("a")
node = bench.nodes["a"]
bench.advance(2.0)
failing: list[Any] = []
node.fail(callback=lambda *answer: failing.append(answer))  # type: ignore[attr-defined]
later = node.write("k", "v")
for _ in range(100):
    bench.now += 0.05
    try:
        bench.tick("a")
    except ValueError:  # SyncObj._autoTickThread logs it, waits a little and ticks again
        continue
verdict(
    attempts=attempts,
    still_leads=node.leads,
    committed_behind_applied=node.raftCommitIndex - node.raftLastApplied,
    answers=failing,
    answers_to_the_next_write=later,
)
