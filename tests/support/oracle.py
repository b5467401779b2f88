"""Linearizability by trying everything: every subset of what may have happened, in every order. Slow, and plain to see.

It reads operations by itself and shares no code with the checkers that are held against it.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, combinations, pairwise, permutations

from kvjepsen.records import Operation


def linearizable(operations: Sequence[Operation]) -> bool:
    """Whether the operations of one key have an order that agrees with real time and explains every answer."""
    certain = [op for op in operations if _certain(op)]
    possible = [op for op in operations if op.outcome == "info" and op.f != "read" and not _certain(op)]
    return any(
        _agrees_with_time(order) and _explains(order)
        for happened in _subsets(possible)
        for order in permutations([*certain, *happened])
    )


def _certain(op: Operation) -> bool:
    """It took effect, or it saw something."""
    if op.f == "read":
        return op.outcome == "ok"
    if op.outcome == "fail":
        return op.error == "key_not_found" or (
            op.error == "precondition_failed" and (op.f == "cas" or op.asked_revision is not None)
        )
    return op.outcome == "ok" or op.revision is not None


def _subsets(operations: Sequence[Operation]) -> Iterable[tuple[Operation, ...]]:
    return chain.from_iterable(combinations(operations, size) for size in range(len(operations) + 1))


def _agrees_with_time(order: Sequence[Operation]) -> bool:
    return not any(order[b].ended < order[a].i for a in range(len(order)) for b in range(a + 1, len(order)))


def _explains(order: Sequence[Operation]) -> bool:
    value: object = None
    version = 0
    revisions: list[int | None] = [0]  # of each mutation so far; None while nobody has told it
    barred: list[set[int]] = [set()]  # what the unknown ones are known not to be

    def has(revision: int) -> bool:
        """Whether the present mutation can have this revision; it has it from now on."""
        if revisions[-1] is None and revision not in barred[-1]:
            revisions[-1] = revision
        return revisions[-1] == revision

    for op in order:
        if op.f == "read":
            if value != op.shown:
                return False
            if value is not None and op.version is not None and op.version != version:
                return False
            if value is not None and op.revision is not None and not has(op.revision):
                return False
            continue
        if op.outcome == "fail":
            if op.error == "key_not_found":
                if value is not None:
                    return False
            elif op.asked_revision is None:
                if value == op.value[0]:
                    return False
            elif op.asked_revision == 0:
                if value is None:
                    return False
            elif value is not None and revisions[-1] is None:
                barred[-1].add(op.asked_revision)
            elif value is not None and revisions[-1] == op.asked_revision:
                return False
            continue
        if op.asked_revision == 0 and value is not None:
            return False
        if op.asked_revision and (value is None or not has(op.asked_revision)):
            return False
        if op.f == "cas" and value != op.value[0]:
            return False
        value = op.value[1] if op.f == "cas" else op.value if op.f == "write" else None
        version = 0 if value is None else version + 1
        if value is not None and op.version is not None and op.version != version:
            return False
        revisions.append(op.revision)
        barred.append(set())
    told = [revision for revision in revisions if revision is not None]
    return all(a < b for a, b in pairwise(told))
