"""Makes a plan that fails shorter, while it goes on failing in the same way.

Every part may change what happens after it, so this is a search, not a proof: it drops ever smaller pieces of the list
of faults, then whole clients, then pieces of what each client does, and keeps what still breaks the same promise.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

from kvjepsen.schedule import Fault, Operation, Schedule

_T = TypeVar("_T")

# What a plan breaks: the first words of `Result.problem`, or None when it passes.
Verdict = Callable[[Schedule], str | None]


def kind_of(problem: str | None) -> str | None:
    """What is compared: which promise was broken, not on which node or entry."""
    return None if problem is None else " ".join(problem.split()[:3])


def shrink(schedule: Schedule, verdict: Verdict, runs_max: int = 200) -> Schedule:
    """A plan that breaks what `schedule` breaks, with as few parts as `runs_max` runs can find."""
    wanted = kind_of(verdict(schedule))
    if wanted is None:
        return schedule
    left = runs_max

    def fails(candidate: Schedule) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and kind_of(verdict(candidate)) == wanted

    before = None
    while before != schedule and left > 0:
        before = schedule
        schedule = _fewer_faults(schedule, fails)
        for place in range(len(schedule.clients)):
            schedule = _fewer_operations(schedule, place, fails)
    return schedule


def _fewer_faults(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    def with_faults(kept: Sequence[Fault]) -> Schedule:
        return schedule._replace(faults=tuple(kept))

    return with_faults(_fewer(schedule.faults, lambda kept: fails(with_faults(kept))))


def _fewer_operations(schedule: Schedule, place: int, fails: Callable[[Schedule], bool]) -> Schedule:
    def with_operations(kept: Sequence[Operation]) -> Schedule:
        clients = list(schedule.clients)
        clients[place] = tuple(kept)
        return schedule._replace(clients=tuple(clients))

    return with_operations(_fewer(schedule.clients[place], lambda kept: fails(with_operations(kept))))


def _fewer(items: Sequence[_T], fails: Callable[[Sequence[_T]], bool]) -> Sequence[_T]:
    """As few of `items` as still fail: drops halves, quarters, and so on (delta debugging)."""
    if not items or fails(()):
        return ()
    size = (len(items) + 1) // 2
    while size:
        place = 0
        while place < len(items):
            kept = (*items[:place], *items[place + size :])
            if len(kept) < len(items) and fails(kept):
                items = kept
            else:
                place += size
        size = 0 if size == 1 else (size + 1) // 2
    return items
