"""The second checker of linearizability, for histories that tell revisions. It searches nothing; its time is linear.

Every acknowledged mutation was told its revision, every read the revision of what it showed. So each has its place in
the order already, and only these can be wrong:

1. Two mutations of one revision. A revision that shows two values, or not the value that was written at it.
2. A revision that nobody was told shows a value that no mutation of unknown outcome can account for, each once. So a
   write that was refused never shows, and none takes effect twice.
3. What a mutation needed to find was not there: the old value of a cas, the revision of a condition, the version
   before its own. Versions that jump count mutations of unknown outcome that took effect unseen.
4. Real time: something in a later place ended before something in an earlier place began.
5. A look without a revision (a key that is absent, a condition that failed) fits nowhere between the places that real
   time leaves it.

For 3 and 5, a mutation of unknown outcome that no read ever showed may be the explanation. Then this checker says
UNKNOWN and leaves it to the search. It shares no code with the search, so that each can be held against the other.

Over the whole store: revisions rise in real time across keys, and a read shows what any answer before it has implied.
"""

import bisect
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kvjepsen.checking.placed import MUTATIONS, Placed
from kvjepsen.checking.verdict import Finding, Findings, Result, Verdict, first
from kvjepsen.records import ABSENT, NEVER, UNMET, History, Operation, comparable


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions(Result):
    """`undecided` keys could not be judged by their revisions alone."""

    keys: int
    undecided: int
    mutations: int
    reads: int


class Judgement(NamedTuple):
    """Of one key."""

    verdict: Verdict
    finding: Finding | None = None


def check(history: History) -> Revisions:
    """Every key by itself, and the order of revisions over the whole store."""
    found = Findings()
    undecided = 0
    by_key = history.by_key()
    for operations in by_key.values():
        judgement = check_key(operations)
        if judgement.finding is not None:
            found.append(judgement.finding)
        undecided += judgement.verdict is Verdict.UNKNOWN
    _check_store(history.operations, found)
    verdict = Verdict.INVALID if found else Verdict.UNKNOWN if undecided or not by_key else Verdict.VALID
    placed = [op for op in history.operations if op.revision is not None and op.outcome != "fail"]
    reads = sum(op.f == "read" for op in placed)
    return Revisions(
        verdict=verdict,
        broken=len(found),
        findings=first(found),
        keys=len(by_key),
        undecided=undecided,
        mutations=len(placed) - reads,
        reads=reads,
    )


def check_key(operations: Sequence[Operation]) -> Judgement:
    """One key by itself: linearizable (VALID), not, or not to be told from its revisions."""
    key = _Key()
    try:
        for operation in operations:
            key.take(operation)
        key.attribute()
        key.check_chain()
        key.check_time()
        key.check_looks()
    except _Undecided:
        return Judgement(Verdict.UNKNOWN)
    except _Broken as broken:
        finding = Finding("not linearizable", broken.problem, tuple(sorted({op.i for op in broken.ops})))
        return Judgement(Verdict.UNKNOWN if key.ambiguous else Verdict.INVALID, finding if not key.ambiguous else None)
    return Judgement(Verdict.VALID)


class _Undecided(Exception):
    """The revisions alone do not tell."""


class _Broken(Exception):
    def __init__(self, problem: str, *ops: Operation | None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.ops = [op for op in ops if op is not None]


@dataclass(slots=True)
class _Place:
    """One revision of the key."""

    revision: int
    mutation: Operation | None = None
    reads: list[Operation] = field(default_factory=list)

    @property
    def value(self) -> Any:
        if self.mutation is not None:
            return _result(self.mutation)
        return comparable(self.reads[0].shown) if self.reads else None

    @property
    def told_version(self) -> int | None:
        """The version that the mutation was told, else the one that the first read shows that shows any."""
        told = [op.version for op in self.reads if op.version is not None]
        if self.mutation is not None and self.mutation.f != "delete" and self.mutation.version is not None:
            return self.mutation.version
        return told[0] if told else None


class _Key:
    """One key's places in the order of their revisions, and what has none."""

    def __init__(self) -> None:
        self.ambiguous = False
        self._places: dict[int, _Place] = {}
        self._loose: list[Operation] = []
        self._unseen: list[Operation] = []
        self._unseen_max = 0
        self._spare_from = NEVER  # when the first mutation began that may have taken effect unseen
        self._refused: list[Operation] = []
        self._looks: list[tuple[Operation, Callable[[_Place], bool]]] = []
        self._order: list[_Place] = []

    def take(self, op: Operation) -> None:
        """Sort the operation in. Raises _Undecided if it should tell a revision and does not, _Broken for rule 1."""
        if not op.linearizable:
            return
        if op.outcome == "fail":
            self._take_failed(op)
        elif op.f == "read":
            self._take_read(op)
        elif op.f not in MUTATIONS or (op.outcome == "ok" and op.revision is None):
            raise _Undecided
        elif op.revision is None:
            self._loose.append(op)
        else:
            place = self._places.setdefault(op.revision, _Place(op.revision))
            if place.mutation is not None:
                raise _Broken(f"two writes were given revision {op.revision}", place.mutation, op)
            place.mutation = op

    def _take_read(self, op: Operation) -> None:
        if op.outcome != "ok":
            return
        if op.shown is None:
            self._looks.append((op, lambda place: place.value is None))
        elif op.revision is None:
            raise _Undecided
        else:
            self._places.setdefault(op.revision, _Place(op.revision)).reads.append(op)

    def _take_failed(self, op: Operation) -> None:
        asked = op.asked_revision
        if op.f in MUTATIONS:
            self._refused.append(op)
        if op.error == ABSENT:
            self._looks.append((op, lambda place: place.value is None))
        elif op.error == UNMET and asked is not None:
            self._looks.append((op, lambda place: not _holds(place, asked)))
        elif op.error == UNMET and op.f == "cas":
            old = comparable(op.value[0])
            self._looks.append((op, lambda place: place.value != old))

    def attribute(self) -> None:
        """Give each revision that only reads know a mutation of unknown outcome: rules 1 and 2."""
        self._order = [_Place(0), *sorted(self._places.values(), key=lambda place: place.revision)]
        needs: dict[Any, list[_Place]] = {}
        for place in self._order:
            self._check_reads(place)
            if place.reads and place.mutation is None:
                needs.setdefault(place.value, []).append(place)
        for value, places in needs.items():
            candidates = [op for op in self._loose if _result(op) == value]
            if len(candidates) < len(places):
                raise self._unwritten(places[len(candidates)])
            blind = all(op.f != "cas" and op.asked_revision is None for op in candidates)
            self.ambiguous |= len(candidates) > 1 and not blind
            # The one invoked first goes to the lowest revision: no other way would fit if this does not.
            for place, op in zip(places, sorted(candidates, key=lambda op: op.i), strict=False):
                place.mutation = op
        given = {id(place.mutation) for place in self._order}
        self._unseen_max = sum(id(op) not in given for op in self._loose)
        unseen = {_result(op) for op in self._loose if id(op) not in given}
        # Those whose effect depends on nothing may be put anywhere.
        self._unseen = [op for op in self._loose if id(op) not in given and op.f != "cas" and op.asked_revision is None]
        # Any of those with one value may be the one that was not seen.
        self._spare_from = min((op.i for op in self._loose if _result(op) in unseen), default=NEVER)

    def _check_reads(self, place: _Place) -> None:
        value, version = place.value, place.told_version
        for op in place.reads:
            if comparable(op.shown) != value:
                other = place.mutation or place.reads[0]
                raise _Broken(f"revision {place.revision} shows {op.shown!r}, not what was written at it", other, op)
            if op.version is not None and op.version != version:
                raise _Broken(f"revision {place.revision} has two versions", place.mutation or place.reads[0], op)

    def _unwritten(self, place: _Place) -> _Broken:
        value, read = place.value, place.reads[0]
        shown = f"a read shows {read.shown!r} at revision {place.revision}"
        for other in self._order:
            if other is not place and other.mutation is not None and _result(other.mutation) == value:
                return _Broken(f"{shown}; it was written at {other.revision}", other.mutation, read)
        for op in self._refused:
            if _result(op) == value:
                return _Broken(f"{shown}, a write that was refused ({op.error})", op, read)
        return _Broken(f"{shown}; nobody can have written it there", read)

    def check_chain(self) -> None:
        """Rule 3: what each mutation needed to find."""
        _, ends = self._times()
        version = 0
        for at, (before, place) in enumerate(zip(self._order, self._order[1:], strict=False)):
            op = place.mutation
            assert op is not None
            if op.f == "cas" and before.value != comparable(op.value[0]):
                self._missing(f"a cas from {op.value[0]!r} found {_shown(before)}", before, op)
            if op.asked_revision is not None and not _holds(before, op.asked_revision):
                self._missing(
                    f"a write on condition of revision {op.asked_revision} found {_shown(before)}", before, op
                )
            version = 0 if place.value is None else version + 1
            told = place.told_version
            if told is not None and told != version:
                problem = f"version {told} at revision {place.revision}, it should be {version}"
                if told < 1 or op.f == "cas" or op.asked_revision is not None:
                    self._missing(problem, before, op)
                # Either some were written over unseen, or the key was removed and written again.
                writes, removals = (told - version, 0) if told > version else (told - 1, 1)
                self._hide(writes, removals, ends[at], _Broken(problem, before.mutation, op))
                version = told

    def _hide(self, writes: int, removals: int, deadline: int, broken: _Broken) -> None:
        """Account for mutations that nobody saw, invoked before `deadline`, by those of unknown outcome."""
        self._unseen_max -= writes + removals
        if self._unseen_max < 0:
            raise broken
        for count, removing in ((writes, False), (removals, True)):
            fitting = [op for op in self._unseen if op.i < deadline and (_result(op) is None) is removing]
            if len(fitting) < count:
                raise _Undecided
            # Places come with rising deadlines: those invoked first are taken first.
            for op in fitting[:count]:
                self._unseen.remove(op)

    def _missing(self, problem: str, before: _Place, op: Operation) -> None:
        if self._spare_from < op.ended:
            raise _Undecided
        raise _Broken(problem, before.mutation, op)

    def check_time(self) -> None:
        """Rule 4."""
        latest: Operation | None = None
        for place in self._order[1:]:
            op = place.mutation
            assert op is not None
            if latest is not None and op.ended < latest.i:
                raise _Broken(f"revision {place.revision} was given before a lower one was asked for", op, latest)
            if latest is None or op.i > latest.i:
                latest = op
            for read in place.reads:
                if read.ended < latest.i:
                    raise _Broken(f"a read shows revision {place.revision} before a lower one was there", read, latest)
            for read in place.reads:
                if read.i > latest.i:
                    latest = read

    def check_looks(self) -> None:
        """Rule 5. Each look takes the first place that it can: that leaves the most to those after it."""
        begun, ends = self._times()
        floor = 0  # the place of the looks that ended before this one began
        under_way: list[tuple[int, int]] = []
        for op, fits in sorted(self._looks, key=lambda look: look[0].i):
            while under_way and under_way[0][0] < op.i:
                floor = max(floor, heapq.heappop(under_way)[1])
            low = bisect.bisect_right(ends, op.i)
            high = bisect.bisect_left(begun, op.ended) - 1
            chosen = next((at for at in range(max(low, floor), high + 1) if fits(self._order[at])), None)
            if chosen is None:
                self._misplaced(op, low)
            else:
                heapq.heappush(under_way, (op.ended, chosen))

    def _misplaced(self, op: Operation, low: int) -> None:
        if self._spare_from < op.ended:
            raise _Undecided
        raise _Broken(f"{_told(op)} when {_shown(self._order[low])} was there", op, self._order[low].mutation)

    def _times(self) -> tuple[list[int], list[int]]:
        """For each place: when the last thing before a look there began, and when the first one after it ends."""
        begun, latest = [], -1
        for place in self._order:
            latest = max(latest, place.mutation.i if place.mutation is not None else -1)
            begun.append(latest)
            latest = max([latest, *(read.i for read in place.reads)])
        ends, soonest = [], NEVER
        for place in reversed(self._order):
            ends.append(soonest)
            soonest = min([soonest, *(read.ended for read in place.reads)])
            soonest = min(soonest, place.mutation.ended if place.mutation is not None else NEVER)
        return begun, ends[::-1]


def _check_store(operations: Sequence[Operation], found: Findings) -> None:
    """Over all keys: revisions are given once and rise in real time; a read shows what was implied before it began."""
    given: dict[int, Operation] = {}
    for op in operations:
        if op.f in MUTATIONS and op.outcome != "fail" and op.revision is not None:
            twin = given.setdefault(op.revision, op)
            if twin is not op and twin.key != op.key:
                found.note("repeated revision", f"two writes were given revision {op.revision}", twin, op)
    placed = Placed(operations)
    told = sorted((op for op in operations if op.outcome == "ok" and op.revision), key=lambda op: op.ended)
    at, floor, known = 0, 0, None
    for op in operations:
        while at < len(told) and told[at].ended < op.i:
            if (told[at].revision or 0) > floor:
                floor, known = told[at].revision or 0, told[at]
            at += 1
        if op.outcome != "ok":
            continue
        if op.f == "read":
            hidden = placed.hidden_by(op, floor) if op.linearizable else None
            if hidden is not None:
                problem = f"a read hides revision {hidden.revision}, although {floor} was known before it began"
                found.note("stale read", problem, hidden, known, op)
        elif op.f in MUTATIONS and op.revision is not None and op.revision <= floor:
            problem = f"revision {op.revision} was given to a write that began when {floor} was known"
            found.note("revision went back", problem, known, op)


def _result(op: Operation) -> Any:
    return comparable(op.value[1]) if op.f == "cas" else comparable(op.value) if op.f == "write" else None


def _holds(place: _Place, asked: int) -> bool:
    """Whether a condition on the revision (0: absent) holds there."""
    return place.value is None if asked == 0 else place.value is not None and place.revision == asked


def _shown(place: _Place) -> str:
    return "nothing" if place.value is None else f"{place.value!r} at revision {place.revision}"


def _told(op: Operation) -> str:
    return "a read shows no value" if op.f == "read" else f"a {op.f} failed ({op.error})"
