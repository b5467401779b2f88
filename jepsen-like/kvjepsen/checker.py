"""Whether a history is linearizable, key by key. This is all there is to know:

    result = check(read_history("history.jsonl"), "kv")
    result.verdict, result.witness

Two checkers judge each key whose history tells revisions, the search and the one that reads revisions. Where both
know, they have to agree; where one does not, the other one's word counts. A key that neither decides is UNKNOWN.
`checking/` has both, the models, and the checkers of other promises.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from kvjepsen.checking.models import MODELS, Call, calls_of
from kvjepsen.checking.revisions import Judgement, check_key
from kvjepsen.checking.search import Outcome, search
from kvjepsen.checking.verdict import Verdict
from kvjepsen.checking.witness import witness
from kvjepsen.records import NEVER, History, Operation
from kvstore import limits


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far one key is searched. `concurrent_max`: calls under way at once, not counting those that never ended."""

    ops_max: int = limits.CHECK_OPS_PER_KEY_MAX
    concurrent_max: int = limits.CHECK_CONCURRENT_OPS_MAX
    states_max: int = limits.CHECK_STATES_PER_KEY_MAX
    seconds_max: float = limits.CHECK_KEY_S_MAX


class Disagreement(AssertionError):
    """The two checkers contradict each other: one of them is wrong, and no verdict can be trusted."""


class Witness(NamedTuple):
    """Operations (their `i`) of one key that no order explains, whatever became of all others."""

    key: str | None
    ops: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Linearizability:
    """`keys` and `ops` count what the history has; `undecided` gives each UNKNOWN key its reason.

    `witness` is of the key whose history fails first; `failed` has them all.
    """

    verdict: Verdict
    model: str
    keys: int
    ops: int
    failed: tuple[str | None, ...] = ()
    undecided: tuple[tuple[str | None, str], ...] = ()
    witness: Witness | None = None


DEFAULT = Bounds()


def check(
    history: History,
    model: str = "kv",
    bounds: Bounds = DEFAULT,
    *,
    clock: Callable[[], float] = time.monotonic,
    each: Callable[[], None] = lambda: None,
) -> Linearizability:
    """Check every key; `each` is called after each. Raises UnknownOperation for what the model lacks, Disagreement."""
    failed: dict[str | None, tuple[list[Call], Outcome]] = {}
    by_revision: dict[str | None, tuple[int, ...]] = {}
    undecided: list[tuple[str | None, str]] = []
    by_key = history.by_key()
    for key, operations in by_key.items():
        calls = calls_of(operations, MODELS[model])
        outcome, second = _check_key(calls, bounds, clock), _second(operations)
        if Verdict.UNKNOWN not in (outcome.verdict, second.verdict) and outcome.verdict is not second.verdict:
            raise Disagreement(
                f"key {key!r}: {outcome.verdict} by search, {second.verdict} by revisions ({second.finding})"
            )
        if outcome.verdict is Verdict.INVALID:
            failed[key] = (calls, outcome)
        elif second.finding is not None:
            by_revision[key] = second.finding.ops
        elif Verdict.VALID not in (outcome.verdict, second.verdict):
            undecided.append((key, outcome.reason))
        each()
    shown = None
    if failed:
        key = min(failed, key=lambda key: failed[key][1].reached)
        calls, outcome = failed[key]
        shown = Witness(key, tuple(call.i for call in witness(calls, outcome.reached, clock=clock)))
    elif by_revision:
        shown = Witness(*next(iter(by_revision.items())))
    wrong = (*failed, *by_revision)
    verdict = Verdict.INVALID if wrong else Verdict.UNKNOWN if undecided else Verdict.VALID
    return Linearizability(verdict, model, len(by_key), len(history.operations), wrong, tuple(undecided), shown)


def _second(operations: list[Operation]) -> Judgement:
    """What revisions say; nothing where none is told."""
    told = any(op.revision is not None or op.version is not None for op in operations)
    return check_key(operations) if told else Judgement(Verdict.UNKNOWN)


def _check_key(calls: list[Call], bounds: Bounds, clock: Callable[[], float]) -> Outcome:
    if len(calls) > bounds.ops_max:
        return Outcome(Verdict.UNKNOWN, reason=f"{len(calls):,} operations, more than {bounds.ops_max:,}")
    width = concurrency(calls)
    if width > bounds.concurrent_max:
        return Outcome(Verdict.UNKNOWN, reason=f"{width} operations at once, more than {bounds.concurrent_max}")
    return search(calls, seconds_max=bounds.seconds_max, states_max=bounds.states_max, clock=clock)


def concurrency(calls: list[Call]) -> int:
    """The most calls that were under way at once, without those that never ended."""
    events = [(call.invoked, 1) for call in calls if call.ended != NEVER]
    events += [(call.ended, -1) for call in calls if call.ended != NEVER]
    most = now = 0
    for _, change in sorted(events):
        now += change
        most = max(most, now)
    return most
