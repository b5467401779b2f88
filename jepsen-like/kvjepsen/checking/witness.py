"""The smallest failing window: which few calls of a key suffice to show that no order explains them. Pure.

A witness stands by itself: whatever became of the calls that it does not name, those that it names cannot be put into
an order. So every other call is loosened: a mutation may have taken effect at any time, or never; a look is left out.

1. The failing prefix: what happened after the moment that no order gets past proves nothing.
2. The witness grows. It begins with the call that ended at that moment. While what it names can be ordered, such an
   order breaks somewhere when the other calls are put back one by one; the first that does not fit joins the witness.
   Where many calls do the same, such orders are hard to find; then all mutations are in it from the beginning.
3. It shrinks: a call without which it fails too is loosened again.

Where it fails only because of the counts of versions, every mutation belongs to it; then only looks are left out.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from kvjepsen.checking.models import IMPOSSIBLE, Call, State, Step, cut, loosened, stepper
from kvjepsen.checking.search import Outcome, search
from kvjepsen.checking.verdict import Verdict
from kvstore import limits

# A smaller window is not worth a long search: what cannot be decided soon is kept.
_TRIAL_S_MAX: Final = 1.0


def witness(
    calls: Sequence[Call],
    reached: int,
    *,
    seconds_max: float = limits.WITNESS_S_MAX,
    clock: Callable[[], float] = time.monotonic,
) -> list[Call]:
    """The calls that cannot be put into an order, in the order of their invocation. `reached`: what the search gave."""
    until = clock() + seconds_max

    def trial(trying: Sequence[Call]) -> Outcome:
        left = min(_TRIAL_S_MAX, until - clock())
        return search(trying, seconds_max=left, clock=clock) if left > 0 else Outcome(Verdict.UNKNOWN)

    def fails(trying: Sequence[Call]) -> bool:
        return trial(trying).verdict is Verdict.INVALID

    prefix = cut(calls, reached)
    known = prefix if fails(prefix) else list(calls)
    needed = {call.i for call in known if call.required}
    uncounted = [call._replace(version=None) for call in known]
    if fails(uncounted):
        known = uncounted
        mutations = {call.i for call in known if call.required and not call.observes}
        needed = _grow(known, reached, set(), trial) or _grow(known, reached, mutations, trial) or needed
    kept = _shrink(known, needed, fails)
    return sorted((call for call in known if call.i in kept), key=lambda call: call.invoked)


def _only(calls: Iterable[Call], needed: set[int]) -> list[Call]:
    """The calls, with all that are not needed loosened."""
    return [call if call.i in needed or not call.required else loosened(call) for call in calls if _kept(call, needed)]


def _kept(call: Call, needed: set[int]) -> bool:
    return call.i in needed or not call.observes


def _grow(
    calls: Sequence[Call], reached: int, begin: set[int], trial: Callable[[Sequence[Call]], Outcome]
) -> set[int] | None:
    """A set that fails, small but not minimal; None if it was not found in time. `begin` belongs to it beforehand."""
    real = {call.i: call for call in calls}
    needed = begin | {call.i for call in calls if call.required and call.ended == reached}
    first, step = stepper(calls)
    while True:
        outcome = trial(_only(calls, needed))
        if outcome.verdict is not Verdict.VALID:
            return needed if outcome.verdict is Verdict.INVALID else None
        order = [real[call.i] for call in outcome.order]
        rest = [call for call in calls if call.required and call not in order]
        misfit = _broken(order, needed, first, step) or _misfit(order, rest, first, step)
        if misfit is None:
            return None
        needed.add(misfit.i)


def _broken(order: list[Call], needed: set[int], first: State, step: Step) -> Call | None:
    """A loosened call that stands in the order where, as it really was, it cannot."""
    state, suspect = first, None
    latest = -1
    for call in order:
        if call.i not in needed and call.required:
            suspect = call
            if call.ended < latest:
                return call
        state = step(state, call)
        if state is IMPOSSIBLE:
            return suspect
        latest = max(latest, call.invoked)
    return None


def _misfit(order: list[Call], rest: Sequence[Call], first: State, step: Step) -> Call | None:
    """Puts the calls of `rest` into the order, one after the other; the first for which there is no place."""
    states = [first]
    for call in order:
        states.append(step(states[-1], call))
    for call in sorted(rest, key=lambda call: call.invoked):
        for place in _places(order, call):
            behind = _behind(order, states, place, call, step)
            if behind is not None:
                order.insert(place, call)
                states[place + 1 : place + len(behind)] = behind
                break
        else:
            return call
    return None


def _places(order: Sequence[Call], call: Call) -> range:
    """Where real time lets it stand, the last place first."""
    low, high = 0, len(order)
    for place, other in enumerate(order):
        if other.ended < call.invoked:
            low = place + 1
        if other.invoked > call.ended:
            high = place
            break
    return range(high, low - 1, -1)


def _behind(order: Sequence[Call], states: Sequence[State], place: int, call: Call, step: Step) -> list[State] | None:
    """The states from there on until they are as before, if the call can stand there; None if it breaks what follows.

    The first one is new, the others take the place of as many old ones.
    """
    state = step(states[place], call)
    behind = [state]
    for at in range(place, len(order) + 1):
        if state is IMPOSSIBLE:
            return None
        if state == states[at] or at == len(order):
            return behind
        state = step(state, order[at])
        behind.append(state)
    return behind


def _shrink(calls: Sequence[Call], needed: set[int], fails: Callable[[Sequence[Call]], bool]) -> set[int]:
    """A smaller set that fails as well; in halves, quarters and so on down to single calls, the earliest first."""
    counted = any(call.version is not None for call in calls)
    size = max(1, len(needed) // 2)
    while True:
        candidates = sorted(call.i for call in calls if call.i in needed and (call.observes or not counted))
        before = len(needed)
        for start in range(0, len(candidates), size):
            fewer = needed - set(candidates[start : start + size])
            if len(fewer) < len(needed) and fails(_only(calls, fewer)):
                needed = fewer
        if size == 1 and len(needed) == before:
            return needed
        size = max(1, size // 2)
