"""Origins: how far each node's level ONE writes have been applied, and what became of them.

O1. A node numbers its intents 1, 2, 3, ... within an *epoch*, a random number made at each of its starts.
O2. Of each node one epoch is current, with a *mark*: the sequence of its last intent that was applied. Only mark + 1 is
    applied. Lower is a duplicate; higher is refused, and whoever forwards goes back to the mark.
O3. Another epoch becomes current only where it names the present one as its predecessor. A node names it once all
    intents of the present one are applied, so a late copy of an older epoch can never be applied again.
O4. Results are kept as runs: successive sequences with one status and, if applied, successive revisions. Each node's
    runs and epochs are bounded, its epochs far above what restarts make; the oldest are forgotten, and a receipt for
    them has expired.
O5. The number of nodes is bounded. The one that was silent for longest is forgotten; its next intents are refused,
    unless they are the first that it ever had.
"""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from kvstore.limits import NAME_CHARS_MAX
from kvstore.model.commands import Origin
from kvstore.model.results import APPLIED, GAP, NOT_FOUND, ONCE_CONFLICT, SUPERSEDED, WRONG_EPOCH, OpResult
from kvstore.state.settings import ORIGINS_MAX, RECEIPT_RUNS_MAX

_STATUSES: Final = frozenset({APPLIED, SUPERSEDED, ONCE_CONFLICT, NOT_FOUND})


class _Runs:
    """The results of one node's intents in one epoch. `starts` are the first sequences of the runs, rising."""

    __slots__ = ("counts", "revisions", "starts", "statuses")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.counts: list[int] = []
        self.statuses: list[int] = []
        self.revisions: list[int] = []

    def add(self, sequence: int, status: int, revision: int) -> None:
        if self.starts and self.statuses[-1] == status:
            count = self.counts[-1]
            follows = self.revisions[-1] + count == revision if status == APPLIED else True
            if follows and self.starts[-1] + count == sequence:
                self.counts[-1] += 1
                return
        self.starts.append(sequence)
        self.counts.append(1)
        self.statuses.append(status)
        self.revisions.append(revision)

    def find(self, sequence: int) -> OpResult | None:
        place = bisect_right(self.starts, sequence) - 1
        if place < 0 or sequence >= self.starts[place] + self.counts[place]:
            return None
        status, revision = self.statuses[place], self.revisions[place]
        return OpResult(status, revision + sequence - self.starts[place] if status == APPLIED else 0, 0)

    def forget(self, count: int) -> None:
        """Drop the oldest runs."""
        for column in (self.starts, self.counts, self.statuses, self.revisions):
            del column[:count]

    def copy(self) -> "_Runs":
        copied = _Runs()
        copied.starts, copied.counts = self.starts.copy(), self.counts.copy()
        copied.statuses, copied.revisions = self.statuses.copy(), self.revisions.copy()
        return copied


class _Node:
    """What is known of one node. `runs` are those of the current epoch and of those before it, oldest first; `count` is
    how many there are.
    """

    __slots__ = ("count", "epoch", "mark", "runs")

    def __init__(self, epoch: int, mark: int) -> None:
        self.epoch = epoch
        self.mark = mark
        self.runs: OrderedDict[int, _Runs] = OrderedDict()
        self.count = 0

    def note(self, result: OpResult, runs_max: int) -> None:
        """The next intent of the current epoch had this result."""
        self.mark += 1
        runs = self.runs[self.epoch]
        before = len(runs.starts)
        runs.add(self.mark, result.status, result.revision)
        self.count += len(runs.starts) - before
        self._bound(runs_max)

    def drop(self, epoch: int) -> None:
        """Forget an epoch, if it is known."""
        runs = self.runs.pop(epoch, None)
        self.count -= 0 if runs is None else len(runs.starts)

    def _bound(self, runs_max: int) -> None:
        """O4. A fifth more than the bound before anything is cut, so that cutting costs nothing on average."""
        excess = self.count - runs_max
        if excess <= runs_max // 5:
            return
        for epoch, runs in list(self.runs.items()):
            if epoch != self.epoch and len(runs.starts) <= excess:
                excess -= len(runs.starts)
                self.drop(epoch)
            else:
                runs.forget(excess)
                self.count -= excess
                return


# A node makes an epoch at each start, and drains them one after the other: one that starts again and again while it is
# alone hands over many at once, and who asks for their receipts has not had a moment to do so before.
_EPOCHS_KEPT: Final = 1_024


class Origins:
    """The marks and results of all nodes, in the order in which they last spoke."""

    __slots__ = ("_nodes",)

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, _Node] = OrderedDict()

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def runs_total(self) -> int:
        """How many runs of results are kept."""
        return sum(node.count for node in self._nodes.values())

    def mark(self, node: str) -> tuple[int, int]:
        """(current epoch, mark) of `node`; (0, 0) while it has none."""
        known = self._nodes.get(node)
        return (0, 0) if known is None else (known.epoch, known.mark)

    def admit(self, origin: Origin, settings: Mapping[str, int]) -> OpResult | int:
        """O2, O3: how many of the first intents of a batch are duplicates, or why none of it is applied."""
        known = self._nodes.get(origin.node)
        if known is None or known.epoch != origin.epoch:
            if (0 if known is None else known.epoch) != origin.previous_epoch:
                return OpResult(WRONG_EPOCH, 0, 0)
            if origin.first_sequence > 1:
                return OpResult(GAP, 0, 0)
            known = self._begin(origin, settings)
        self._nodes.move_to_end(origin.node)
        if origin.first_sequence > known.mark + 1:
            return OpResult(GAP, known.mark, 0)
        return known.mark + 1 - origin.first_sequence

    def _begin(self, origin: Origin, settings: Mapping[str, int]) -> _Node:
        known = self._nodes.get(origin.node)
        if known is None:
            while len(self._nodes) >= settings[ORIGINS_MAX]:
                self._nodes.popitem(last=False)
            known = self._nodes[origin.node] = _Node(origin.epoch, 0)
        elif not known.runs[known.epoch].starts:
            # A snapshot does not show an epoch without results, so it must not push out another one here either.
            known.drop(known.epoch)
        # One that comes again is the youngest.
        known.drop(origin.epoch)
        known.epoch, known.mark = origin.epoch, 0
        known.runs[origin.epoch] = _Runs()
        while len(known.runs) > _EPOCHS_KEPT:
            known.drop(next(iter(known.runs)))
        return known

    def note(self, node: str, result: OpResult, settings: Mapping[str, int]) -> None:
        """The next intent of `node` had this result."""
        self._nodes[node].note(result, settings[RECEIPT_RUNS_MAX])

    def last(self, node: str, epoch: int) -> int | None:
        """The sequence of the last intent that was applied in `epoch`; None where that is not kept."""
        known = self._nodes.get(node)
        if known is None:
            return None
        if known.epoch == epoch:
            return known.mark
        runs = known.runs.get(epoch)
        return runs.starts[-1] + runs.counts[-1] - 1 if runs is not None and runs.starts else None

    def oldest(self, node: str) -> int:
        """The oldest epoch of which results are kept, 0 if there is none. What was before it was applied, too long ago
        to be remembered; an epoch above it that is not kept was never applied here.
        """
        known = self._nodes.get(node)
        return 0 if known is None else next(iter(known.runs))

    def result(self, node: str, epoch: int, sequence: int) -> OpResult | None:
        """What became of an intent, None if it is not known here (O4): not applied yet, or forgotten."""
        known = self._nodes.get(node)
        runs = None if known is None else known.runs.get(epoch)
        return None if runs is None else runs.find(sequence)

    # -- snapshots

    def copy(self) -> "Origins":
        """All of it as it is now."""
        copied = Origins()
        for name, node in self._nodes.items():
            twin = copied._nodes[name] = _Node(node.epoch, node.mark)
            twin.count = node.count
            for epoch, runs in node.runs.items():
                twin.runs[epoch] = runs.copy()
        return copied

    def rows(self) -> list[tuple[str, int, int]]:
        """(node, epoch, mark) of each node, in order."""
        return [(name, node.epoch, node.mark) for name, node in self._nodes.items()]

    def runs(self) -> Iterator[tuple[Any, ...]]:
        """(node, epoch, start, count, status, revision) of each run, in order; not to be held across a change."""
        return (
            (name, epoch, *run)
            for name, node in self._nodes.items()
            for epoch, runs in node.runs.items()
            for run in zip(runs.starts, runs.counts, runs.statuses, runs.revisions, strict=True)
        )

    def add_row(self, row: Any) -> None:
        """Take back one of `rows`. Raises ValueError or TypeError for anything else."""
        name, epoch, mark = row
        _check(type(name) is str and 0 < len(name) <= NAME_CHARS_MAX and name not in self._nodes)
        _check(type(epoch) is type(mark) is int and epoch > 0 and mark >= 0)
        node = self._nodes[name] = _Node(epoch, mark)
        node.runs[epoch] = _Runs()

    def add_run(self, row: Any) -> None:
        """Take back one of `runs`, after all rows. Raises ValueError or TypeError for anything else."""
        name, epoch, start, count, status, revision = row
        numbers = (epoch, start, count, status, revision)
        _check(type(name) is str and name in self._nodes and all(type(number) is int for number in numbers))
        _check(start > 0 and count > 0 and revision >= 0 and status in _STATUSES)
        node = self._nodes[name]
        runs = node.runs.setdefault(epoch, _Runs())
        node.runs.move_to_end(epoch)
        node.runs.move_to_end(node.epoch)
        _check(not runs.starts or runs.starts[-1] + runs.counts[-1] <= start)
        for column, number in zip((runs.starts, runs.counts, runs.statuses, runs.revisions), numbers[1:], strict=True):
            column.append(number)
        node.count += 1


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError("a row of level ONE writes that cannot be one")
