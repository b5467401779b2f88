"""Which links a partition cuts: groups of nodes to directed pairs. No I/O.

n1,n2|n3        n3 is cut off from n1 and n2, in both directions
n1|n2|n3        everybody is alone
n1,n2|n4,n5     n3 stands in no group: it reaches everybody, and is the bridge between the two halves
"""

from collections.abc import Callable, Sequence
from typing import Final

from kvstore.errors import LocalError

Pair = tuple[str, str]
"""Source and target: the way of what the first sends to the second."""

_SEPARATOR: Final = "|"


class BadPartition(LocalError):
    """Groups that do not make sense: fewer than two, an empty one, or a node in two places."""

    exit_code = 2


def parse_groups(text: str, resolve: Callable[[str], str] = lambda name: name) -> list[list[str]]:
    """The groups that `text` names. `resolve` gives a node's name for each word, or raises. Raises BadPartition."""
    groups = [[word.strip() for word in part.split(",")] for part in text.split(_SEPARATOR)]
    if len(groups) < 2 or not all(all(group) for group in groups):
        raise BadPartition(f"{text!r} does not name two groups of nodes; expected something like 'n1,n2|n3'")
    resolved = [[resolve(word) for word in group] for group in groups]
    names = [name for group in resolved for name in group]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadPartition(f"{text!r} names {twice} twice")
    return resolved


def cut_pairs(groups: Sequence[Sequence[str]], *, one_way: bool = False) -> list[Pair]:
    """Every pair of nodes of two different groups; `one_way`: only what goes from a group to one right of it."""
    return [
        (source, target)
        for i, left in enumerate(groups)
        for j, right in enumerate(groups)
        if (i < j if one_way else i != j)
        for source in left
        for target in right
    ]
