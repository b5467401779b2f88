"""The search for a linearization of one key's calls: Wing and Gong's, with Lowe's memo. Iterative and bounded.

A configuration is a set of calls that have been put in order and the state after them; sets are bitmasks. From it,
every call may come next that was invoked before any call still outside ended. The history is linearizable if some way
leads to a configuration with all required calls in it. What keeps it small, each without losing a linearization:

1. A configuration that was seen is not visited again. One with the same required calls and state, and fewer of the
   optional ones (those of unknown outcome), makes it superfluous too: it can do all that the other can.
2. A call that only looks, and may come next, comes next: it changes nothing for the others.
3. Of optional calls that do the same, the one invoked first is taken first. Values that no call looks for are all the
   same.
4. An optional call is taken only if what comes next needs its result: overwritten unseen, it may as well never have
   been. Those whose result nobody could need are left out from the beginning. Not where versions are counted: there
   every mutation is seen by the count.
5. Where revisions are told, they say which calls come before which.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from kvjepsen.checking.models import APPEND, CAS, IMPOSSIBLE, READ, UNEQUAL, UNMOVED, Call, State, Step, stepper
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import NEVER
from kvstore import limits

_LOOK_AT_CLOCK_EVERY: Final = 512
_UNSEEN: Final = object()


class Outcome(NamedTuple):
    """INVALID: no order of the calls gets past the moment `reached`, the end of one. VALID: `order` explains them."""

    verdict: Verdict
    reached: int = NEVER
    states: int = 0
    reason: str = ""
    order: tuple[Call, ...] = ()


# How a configuration was reached: the way to the one before it, the looks (a bitmask) and then the call that followed.
Way = tuple["Way", int, int] | None
Configuration = tuple[int, int, State, Way]


def search(
    calls: Sequence[Call],
    *,
    seconds_max: float = limits.CHECK_KEY_S_MAX,
    states_max: int = limits.CHECK_STATES_PER_KEY_MAX,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Whether the calls of one key can be put into an order that explains them; UNKNOWN beyond the bounds."""
    first, step = stepper(calls)
    plan = _Plan(calls, step)
    seen: dict[tuple[int, State], list[int]] = {}
    stack: list[Configuration] = [(0, 0, first, None)]
    until = clock() + seconds_max
    reached = popped = states = 0
    while stack:
        popped += 1
        if popped % _LOOK_AT_CLOCK_EVERY == 0 and clock() > until:
            return Outcome(Verdict.UNKNOWN, states=states, reason=f"not decided within {seconds_max:g} s")
        if states > states_max:
            return Outcome(Verdict.UNKNOWN, states=states, reason=f"more than {states_max:,} configurations")
        before, used, state, way = stack.pop()
        done, frontier, moment = plan.look(before, state)
        if done == plan.full:
            return Outcome(Verdict.VALID, states=states, order=plan.order(way, done & ~before))
        reached = max(reached, moment)
        for move in plan.moves((done, used, state, way), done & ~before, frontier, moment):
            known = seen.setdefault((move[0], move[2]), [])
            if not any(fewer & ~move[1] == 0 for fewer in known):
                known.append(move[1])
                stack.append(move)
                states += 1
    return Outcome(Verdict.INVALID, reached, states)


class _Plan:
    """The calls of a search with what can be said of them beforehand."""

    def __init__(self, calls: Sequence[Call], step: Step) -> None:
        self._step = step
        self._required = sorted((call for call in calls if call.required), key=lambda call: call.invoked)
        self._frugal = not any(call.version is not None for call in calls)
        optional = [call for call in calls if not call.required]
        if self._frugal:
            optional = _of_use(optional, self._required)
        self._optional = sorted(_alike(optional, calls), key=lambda call: call.invoked)
        # Read often: plain lists are much quicker than attributes of the calls.
        self._invoked = [call.invoked for call in self._required]
        self._ended = [call.ended for call in self._required]
        self._observes = [call.observes for call in self._required]
        self.full = (1 << len(self._required)) - 1
        self._before = _order_by_revision(self._required)
        self._twin = _twins(self._optional)

    def look(self, done: int, state: State) -> tuple[int, list[int], int]:
        """`done` and all that only looks and may come next; then what may come next, and when the first of it ends."""
        required, before, step = self._required, self._before, self._step
        invoked, ended, observes = self._invoked, self._ended, self._observes
        count = len(required)
        while True:
            frontier: list[int] = []
            moment = NEVER
            looked = 0
            # The lowest call that is not done yet.
            for j in range((~done & (done + 1)).bit_length() - 1, count):
                if invoked[j] > moment:
                    break
                bit = 1 << j
                if done & bit:
                    continue
                if ended[j] < moment:
                    moment = ended[j]
                if before is not None and before[j] & ~done:
                    continue
                if observes[j] and step(state, required[j]) == state:
                    looked |= bit
                else:
                    frontier.append(j)
            if not looked:
                return done, frontier, moment
            done |= looked

    def moves(self, at: Configuration, looked: int, frontier: list[int], moment: int) -> list[Configuration]:
        """The configurations that may follow, the most promising last."""
        done, used, state, way = at
        step, required = self._step, self._required
        found: list[Configuration] = []
        for k, call in enumerate(self._optional):
            if call.invoked > moment:
                break
            if used >> k & 1 or (self._twin[k] >= 0 and not used >> self._twin[k] & 1):
                continue
            after = step(state, call)
            if after is IMPOSSIBLE or after == state:
                continue
            if not self._frugal or self._needed(after, used | 1 << k, frontier, moment):
                found.append((done, used | 1 << k, after, (way, looked, ~k)))
        for j in reversed(frontier):
            after = step(state, required[j])
            if after is not IMPOSSIBLE:
                found.append((done | 1 << j, used, after, (way, looked, j)))
        return found

    def order(self, way: Way, looked: int) -> tuple[Call, ...]:
        """The calls in the order in which they were taken."""
        backwards: list[Call] = []
        while True:
            backwards += [call for j, call in enumerate(self._required) if looked >> j & 1]
            if way is None:
                return tuple(reversed(backwards))
            way, looked, taken = way
            backwards.append(self._required[taken] if taken >= 0 else self._optional[~taken])

    def _needed(self, state: State, used: int, frontier: list[int], moment: int) -> bool:
        """Whether something that may come next does so because of this state."""
        step = self._step
        for j in frontier:
            call = self._required[j]
            if not call.blind and step(state, call) is not IMPOSSIBLE:
                return True
        for k, call in enumerate(self._optional):
            if call.invoked > moment:
                break
            if not used >> k & 1 and not call.blind and step(state, call) is not IMPOSSIBLE:
                return True
        return False


def _alike(optional: list[Call], calls: Sequence[Call]) -> list[Call]:
    """The optional calls, with one value for all that nobody looks for."""
    if any(call.kind == APPEND for call in calls):
        return optional
    looked_for: set[object] = {call.value for call in calls if call.kind == READ}
    looked_for |= {call.old for call in calls if call.kind in (CAS, UNEQUAL)}
    looked_for.add(None)  # absence has a version of its own
    return [call if call.value in looked_for else call._replace(value=_UNSEEN) for call in optional]


def _of_use(optional: list[Call], required: Sequence[Call]) -> list[Call]:
    """The optional calls whose result a required call may need, or another one of use."""
    wanted: set[object] = set()
    if not all(_wants(call, wanted) for call in required):
        return optional
    kept: list[Call] = []
    left = optional
    while True:
        found = [call for call in left if call.kind == APPEND or call.value in wanted]
        if not found:
            return kept
        if not all(_wants(call, wanted) for call in found):
            return optional
        kept += found
        left = [call for call in left if call not in found]


def _wants(call: Call, wanted: set[object]) -> bool:
    """Adds the value that the call needs to find. False if there are too many to name."""
    if call.kind in (UNEQUAL, UNMOVED, APPEND) or call.asked:
        return False
    if call.kind == READ:
        wanted.add(call.value)
    elif call.kind == CAS:
        wanted.add(call.old)
    elif call.asked == 0:
        wanted.add(None)
    return True


def _order_by_revision(required: Sequence[Call]) -> list[int] | None:
    """For each call the set of those that come before it because of their revisions; None if none has one."""
    known = [j for j, call in enumerate(required) if call.revision is not None]
    if not known:
        return None
    before = [0] * len(required)
    below = 0  # all with a lower revision
    by_revision: dict[int, list[int]] = {}
    for j in known:
        by_revision.setdefault(required[j].revision or 0, []).append(j)
    for revision in sorted(by_revision):
        group = by_revision[revision]
        mutations = sum(1 << j for j in group if not required[j].observes)
        for j in group:
            before[j] = below | mutations if required[j].observes else below
        below |= sum(1 << j for j in group)
    return before


def _twins(optional: Sequence[Call]) -> list[int]:
    """For each call the index of the last one before it that does the same, or -1."""
    last: dict[tuple[object, ...], int] = {}
    twins = []
    for k, call in enumerate(optional):
        same = (call.kind, call.value, call.old, call.revision, call.version, call.asked)
        twins.append(last.get(same, -1))
        last[same] = k
    return twins
