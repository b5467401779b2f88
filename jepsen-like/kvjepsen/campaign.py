"""Many seeds, one after another or in several processes, with a readable trace and a shorter plan for what failed."""

import gc
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

from kvjepsen.runners.sim import Result, run, simulate
from kvjepsen.schedule import Schedule, make_schedule
from kvjepsen.shrink import shrink

BATCH_SEEDS: Final = 10


@contextmanager
def collected_by_hand() -> Iterator[None]:
    """A run leaves one big heap of cycles: collecting it once is far cheaper than looking at it all the time.

    It is collected before what was there already can be collected again, so that it alone is looked at.
    """
    enabled = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        if enabled:
            gc.enable()


def _batch(seeds: list[int], members: bool, mutant: str | None) -> list[Result]:
    with collected_by_hand():
        return [simulate(seed, members=members, mutant=mutant) for seed in seeds]


def campaign(
    seeds: Iterable[int], *, jobs: int = 1, members: bool = False, mutant: str | None = None
) -> Iterator[Result]:
    """The results of `seeds`, in no order when `jobs` processes work on them."""
    rest = iter(seeds)
    batches = iter(lambda: list(islice(rest, BATCH_SEEDS)), [])
    one = partial(_batch, members=members, mutant=mutant)
    if jobs == 1:
        for batch in batches:
            yield from one(batch)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        under_way: set[Future[list[Result]]] = {pool.submit(one, batch) for batch in islice(batches, 2 * jobs)}
        try:
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                under_way |= {pool.submit(one, batch) for batch in islice(batches, len(done))}
                for future in done:
                    yield from future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class Totals:
    """Sums over the results of a campaign."""

    def __init__(self) -> None:
        self.seeds = 0
        self.simulated_s = 0.0
        self.counts: Counter[str] = Counter()
        self.failures: list[Result] = []

    def add(self, result: Result) -> None:
        """One more result."""
        self.seeds += 1
        self.simulated_s += result.simulated_s
        self.counts.update(result.counts)
        if result.problem is not None:
            self.failures.append(result)

    def to_json(self) -> dict[str, Any]:
        """For people and programs."""
        return {
            "seeds": self.seeds,
            "failed": sorted(result.seed for result in self.failures),
            "simulated_hours": round(self.simulated_s / 3600, 3),
            **{name: self.counts[name] for name in _SHOWN},
        }


_SHOWN: Final = (
    "acknowledged", "reads", "unknown", "entries", "elections", "faults", "crashes", "delivered", "lost",
)  # fmt: skip


def write_report(
    seed: int, directory: Path, *, members: bool = False, mutant: str | None = None, runs_max: int = 200
) -> Path:
    """Run `seed` once more and write down its plan, a shorter plan that fails alike, and the trace of that one."""

    def verdict(schedule: Schedule) -> str | None:
        return run(schedule, mutant).problem

    schedule = make_schedule(seed, members=members)
    shorter = shrink(schedule, verdict, runs_max)
    lines: list[str] = []
    result = run(shorter, mutant, lines.append)
    path = directory / f"seed-{seed}.txt"
    text = [
        f"replay: {replay_command(seed, members=members, mutant=mutant)}",
        *schedule.lines(),
        "",
        f"shortened to {len(shorter.faults)} faults and {sum(map(len, shorter.clients))} operations:",
        *shorter.lines(),
        *(f"client {number}: {operation}" for number, plan in enumerate(shorter.clients) for operation in plan),
        "",
        f"breaks: {result.problem}",
        "",
        *lines,
    ]
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")
    return path


def replay_command(seed: int, *, members: bool = False, mutant: str | None = None) -> str:
    """The command that runs `seed` again."""
    options = (" --members" if members else "") + (f" --mutant {mutant}" if mutant else "")
    return f"kv chaos simulate --seeds 1 --seed {seed}{options}"
