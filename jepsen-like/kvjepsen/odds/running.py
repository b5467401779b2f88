"""Carrying out a plan of trials: several benches at a time, within a budget of time, going on where a run stopped.

A bench is what trials are made on: a real cluster or a simulated one. Each worker keeps its bench as long as there are
trials for that number of nodes. A bench on which a trial could not be carried out is thrown away; its trial is told and
not counted. What is under way when the budget is used up is given up, and listed with what was not reached.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from kvjepsen.odds.observation import Observation, Results
from kvjepsen.odds.plan import Trial
from kvstore.errors import LocalError


class Bench(Protocol):
    """Makes trials, one after the other."""

    async def carry_out(self, trial: Trial) -> Observation:
        """Raises LocalError if it cannot be made, or if what was failed does not come back."""
        ...


PROBLEMS_MAX: Final = 5


class TrialBroken(LocalError):
    """A trial could not be carried out."""

    exit_code = 1


Benches = Callable[[int], AbstractAsyncContextManager[Bench]]
"""Opens a bench of so many nodes, and ends all that belongs to it at exit."""


async def run(
    plan: Sequence[Trial],
    results: Results,
    benches: Benches,
    *,
    jobs: int,
    budget_s: float,
    each: Callable[[Observation], None] = lambda observation: None,
) -> None:
    """Make the trials of `plan` that `results` does not have, `jobs` at a time."""
    work = _Work(plan, results, each)
    until = asyncio.get_running_loop().time() + budget_s
    await asyncio.gather(*(_worker(work, benches, results, until) for _ in range(jobs)))


def unreached(plan: Sequence[Trial], results: Results) -> list[Trial]:
    """What no run has made yet."""
    done = results.done
    return [trial for trial in plan if trial.id not in done]


class _Work:
    """What is left to do, by number of nodes."""

    def __init__(self, plan: Sequence[Trial], results: Results, each: Callable[[Observation], None]) -> None:
        self._waiting: dict[int, deque[Trial]] = {}
        self._workers: Counter[int] = Counter()
        self._results = results
        self._each = each
        done = results.done
        for trial in plan:
            if trial.id not in done:
                self._waiting.setdefault(trial.n, deque()).append(trial)

    def choose(self) -> int | None:
        """Where one more worker helps most. To be given back with `leave`."""
        left = {n: trials for n, trials in self._waiting.items() if trials}
        if not left:
            return None
        # A trial of many nodes takes longer; a cluster that has few trials left is not worth another bench.
        chosen = max(left, key=lambda n: n * len(left[n]) / (1 + self._workers[n]))
        self._workers[chosen] += 1
        return chosen

    def leave(self, n: int) -> None:
        self._workers[n] -= 1

    def next(self, n: int) -> Trial | None:
        return self._waiting[n].popleft() if self._waiting[n] else None

    def done(self, observation: Observation) -> None:
        self._results.add(observation)
        self._each(observation)


async def _worker(work: _Work, benches: Benches, results: Results, until: float) -> None:
    loop = asyncio.get_running_loop()
    problems_before = len(results.problems)
    while loop.time() < until and (n := work.choose()) is not None:
        try:
            async with benches(n) as bench:
                await _use(bench, n, work, until)
        except TimeoutError:
            return
        except LocalError as broken:
            results.add_problem(f"{'' if isinstance(broken, TrialBroken) else f'n{n}: '}{broken}")
            if len(results.problems) - problems_before >= PROBLEMS_MAX:
                return
        finally:
            work.leave(n)


async def _use(bench: Bench, n: int, work: _Work, until: float) -> None:
    while asyncio.get_running_loop().time() < until and (trial := work.next(n)) is not None:
        async with asyncio.timeout_at(until):
            try:
                observation = await bench.carry_out(trial)
            except LocalError as broken:
                raise TrialBroken(f"{trial.id}: {broken}") from broken
        work.done(observation)
