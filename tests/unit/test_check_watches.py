"""The checker of watches: what each watcher was told, against the changes and against the others."""

from typing import Any

import pytest

from kvjepsen.checking import watches
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import FINAL, Operation
from tests.support.histories import history, op

Told = list[list[Any]]

FIRST = op("change", {"n": 1, "put": ["a"], "delete": []}, (0, 1), revision=5)
SECOND = op("change", {"n": 2, "put": ["a", "b"], "delete": ["c", "d"]}, (2, 3), revision=6)
ALL: Told = [[5, "a", 1], [6, "a", 2], [6, "b", 2], [6, "c", None]]


def told(events: Told, moment: int = 50, client: str = "w", f: str = "watched") -> Operation:
    return op(f, events, (moment, moment + 1), client=client)


def kinds(*operations: Operation) -> set[str]:
    return {finding.kind for finding in watches.check(history(*operations)).findings}


def test_every_change_once_and_in_order() -> None:
    result = watches.check(history(FIRST, SECOND, told(ALL[:1]), told(ALL[1:], 60), told(ALL, 70, "v")))
    assert (result.verdict, result.changes, result.watchers, result.events) == (Verdict.VALID, 2, 2, 8)


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        (ALL[1:], "not told"),
        (ALL[:1], "not told"),
        ([*ALL[1:], ALL[0]], "order"),
        ([*ALL, ALL[-1]], "order"),
        ([ALL[0], ALL[2], ALL[1], ALL[3]], "order"),
        ([*ALL, [7, "a", 2]], "twice"),
        ([*ALL, [7, "a", 9]], "wrong"),
        (ALL[:2], "wrong"),
        ([*ALL, [6, "e", None]], "wrong"),
        ([ALL[0], [6, "a", 2], [6, "b", 1]], "mixed"),
    ],
)
def test_what_a_watcher_must_not_be_told(events: Told, kind: str) -> None:
    assert kind in kinds(FIRST, SECOND, told(events))


def test_a_change_that_was_refused_is_told_to_nobody() -> None:
    refused = op("change", {"n": 3, "put": ["a"], "delete": []}, (4, 5), fail="no_quorum")
    assert kinds(FIRST, SECOND, refused, told([*ALL, [7, "a", 3]])) == {"wrong"}


def test_a_change_of_unknown_outcome_is_told_whole_or_not_at_all() -> None:
    unknown = op("change", {"n": 3, "put": ["a", "b"], "delete": []}, (4, None))
    assert kinds(FIRST, SECOND, unknown, told(ALL)) == set()
    assert kinds(FIRST, SECOND, unknown, told([*ALL, [7, "a", 3], [7, "b", 3]])) == set()
    assert kinds(FIRST, SECOND, unknown, told([*ALL, [7, "a", 3]])) == {"wrong"}


def test_all_watchers_are_told_the_same() -> None:
    assert kinds(FIRST, SECOND, told(ALL), told(ALL[:3], 60, "v")) == {"differ"}
    unknown = op("change", {"n": 3, "put": ["a"], "delete": []}, (4, None))
    assert kinds(FIRST, SECOND, unknown, told(ALL), told([*ALL, [7, "a", 3]], 60, "v")) == {"differ"}


def test_a_gap_that_was_told_excuses_what_is_in_it_and_nothing_else() -> None:
    assert kinds(FIRST, SECOND, told([1, 5], 48, f="compacted"), told(ALL[1:])) == set()
    assert kinds(FIRST, SECOND, told([1, 4], 48, f="compacted"), told(ALL[1:])) == {"not told"}


def test_a_watcher_that_gave_up_is_told_of() -> None:
    assert kinds(FIRST, SECOND, told(ALL), op("watched", None, (60, 61), client="w", fail="no_leader")) == {"ended"}


def test_the_end_is_what_was_told_last() -> None:
    def final(key: str, n: int | None) -> Operation:
        return op("read", n, (90, 91), key=key, client=FINAL, level="quorum")

    for key, n in (("a", 2), ("c", None), ("never", None)):
        assert kinds(FIRST, SECOND, told(ALL), final(key, n)) == set()
    for key, n in (("a", 1), ("a", None), ("c", 4), ("never", 3)):
        assert kinds(FIRST, SECOND, told(ALL), final(key, n)) == {"end"}


def test_without_a_watcher_nothing_is_shown() -> None:
    assert watches.check(history(FIRST, SECOND)).verdict is Verdict.UNKNOWN
