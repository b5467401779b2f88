"""The smallest failing window: which few calls of a key suffice to show that no order explains them. Pure.

First the failing prefix: what happened after the moment that no order gets past proves nothing. Then calls are
loosened, in halves, quarters and so on down to one, as long as the rest still fails. A loosened look is left out; a
loosened mutation counts as one that may have taken effect at any time, or never. So the witness stands by itself:
whatever became of the calls that it does not name, those that it names cannot be put into an order.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from kvjepsen.checking.models import Call, cut, loosened
from kvjepsen.checking.search import search
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

    def fails(trial: Sequence[Call]) -> bool:
        left = min(_TRIAL_S_MAX, until - clock())
        return left > 0 and search(trial, seconds_max=left, clock=clock).verdict is Verdict.INVALID

    prefix = cut(calls, reached)
    kept = list(prefix if fails(prefix) else calls)
    size = max(1, sum(call.required for call in kept) // 2)
    while True:
        smaller = _loosen_in_chunks(kept, size, fails)
        if smaller is not None:
            kept = smaller
        elif size == 1:
            return sorted((call for call in kept if call.required), key=lambda call: call.invoked)
        if size > 1:
            size //= 2


def _loosen_in_chunks(calls: list[Call], size: int, fails: Callable[[Sequence[Call]], bool]) -> list[Call] | None:
    """Loosens every chunk of `size` required calls that can be, the earliest first; None if there is none."""
    candidates = [call.i for call in calls if call.required]
    found = None
    for start in range(0, len(candidates), size):
        chunk = set(candidates[start : start + size])
        trial = [
            loosened(call) if call.i in chunk else call for call in calls if not (call.i in chunk and call.observes)
        ]
        if fails(trial):
            calls = found = trial
    return found
