"""The checker that reads revisions: each of its rules, and when it leaves the answer to the search."""

import pytest

from kvjepsen.checking.revisions import check, check_key
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import Operation
from tests.support.histories import history, op

VALID, INVALID, UNKNOWN = Verdict.VALID, Verdict.INVALID, Verdict.UNKNOWN

FIRST = op("write", 1, (0, 1), revision=5, version=1)


def judged(*operations: Operation) -> tuple[Verdict, str, tuple[int, ...]]:
    judgement = check_key(sorted(operations, key=lambda made: made.i))
    finding = judgement.finding
    return judgement.verdict, finding.problem if finding else "", finding.ops if finding else ()


def test_a_sound_key() -> None:
    assert judged(
        FIRST,
        op("read", 1, (2, 3), revision=5, version=1),
        op("cas", [1, 2], (4, 5), revision=7, version=2),
        op("cas", [1, 3], (6, 7), fail="precondition_failed"),
        op("delete", None, (8, 9), revision=8),
        op("read", None, (10, 11)),
        op("write", 4, (12, 13), revision=9, version=1, asked_revision=0),
    ) == (VALID, "", ())


@pytest.mark.parametrize(
    ("others", "problem", "ops"),
    [
        ([op("write", 2, (2, 3), revision=5)], "two writes were given revision 5", (0, 2)),
        ([op("read", 2, (2, 3), revision=5)], "revision 5 shows 2, not what was written at it", (0, 2)),
        ([op("read", 1, (2, 3), revision=5, version=2)], "revision 5 has two versions", (0, 2)),
        ([op("read", 1, (2, 3), revision=6)], "a read shows 1 at revision 6; it was written at 5", (0, 2)),
        ([op("read", 9, (2, 3), revision=6)], "nobody can have written it there", (2,)),
        (
            [op("write", 9, (2, 3), fail="no_quorum"), op("read", 9, (4, 5), revision=6)],
            "a write that was refused (no_quorum)",
            (2, 4),
        ),
        ([op("cas", [7, 8], (2, 3), revision=6, version=2)], "a cas from 7 found 1 at revision 5", (0, 2)),
        ([op("write", 2, (2, 3), revision=6, asked_revision=4)], "on condition of revision 4 found 1", (0, 2)),
        ([op("write", 2, (2, 3), revision=6, version=4)], "version 4 at revision 6, it should be 2", (0, 2)),
        ([op("write", 2, (2, 3), revision=4, version=0)], "version 0 at revision 4, it should be 1", (2,)),
        (
            [op("write", 2, (2, 9), revision=6), op("read", 2, (3, 4), revision=6), op("read", 1, (5, 6), revision=5)],
            "revision 6 before a lower one was there",
            (3, 5),
        ),
        ([op("read", None, (2, 3))], "a read shows no value when 1 at revision 5 was there", (0, 2)),
        ([op("delete", None, (2, 3), fail="key_not_found")], "a delete failed (key_not_found) when 1", (0, 2)),
        ([op("cas", [1, 2], (2, 3), fail="precondition_failed")], "a cas failed (precondition_failed) when 1", (0, 2)),
        (
            [op("write", 2, (2, 3), fail="precondition_failed", asked_revision=5)],
            "a write failed (precondition_failed) when 1",
            (0, 2),
        ),
    ],
)
def test_what_is_wrong(others: list[Operation], problem: str, ops: tuple[int, ...]) -> None:
    verdict, told, shown = judged(FIRST, *others)
    assert verdict is INVALID
    assert problem in told
    assert shown == ops


def test_a_place_before_one_that_ended_earlier() -> None:
    verdict, problem, ops = judged(op("write", 1, (0, 1), revision=5), op("write", 2, (2, 3), revision=4))
    assert (verdict, problem, ops) == (INVALID, "revision 5 was given before a lower one was asked for", (0, 2))


def test_a_write_of_unknown_outcome_accounts_for_a_revision_once() -> None:
    lost, seen = op("write", 9, (2, None)), op("read", 9, (3, 4), revision=6)
    assert judged(FIRST, lost, seen)[0] is VALID
    assert (
        judged(FIRST, lost, seen, op("write", 2, (5, 6), revision=7), op("read", 9, (7, 8), revision=8))[0] is INVALID
    )
    assert judged(FIRST, op("read", 9, (2, 3), revision=6), op("write", 9, (4, None)))[0] is INVALID


def test_one_that_nobody_saw_may_explain_a_jump_of_the_version() -> None:
    jump = op("write", 2, (4, 5), revision=7, version=3)
    assert judged(FIRST, jump)[0] is INVALID
    assert judged(FIRST, op("write", 9, (2, None)), jump)[0] is VALID
    assert judged(FIRST, op("write", 9, (6, None)), jump)[0] is UNKNOWN
    assert judged(FIRST, op("delete", None, (2, None)), op("write", 2, (4, 5), revision=7, version=1))[0] is VALID


def test_where_one_that_nobody_saw_may_be_the_reason_the_search_has_to_say() -> None:
    lost = op("write", 9, (2, None))
    assert judged(FIRST, lost, op("cas", [9, 2], (4, 5), revision=7))[0] is UNKNOWN
    assert judged(FIRST, op("delete", None, (2, None)), op("read", None, (4, 5)))[0] is UNKNOWN
    assert judged(FIRST, op("read", None, (4, 5)), op("delete", None, (6, None)))[0] is INVALID


@pytest.mark.parametrize(
    "untold",
    [op("write", 2, (2, 3)), op("read", 1, (2, 3)), op("append", "a", (2, 3), revision=6)],
    ids=["write", "read", "append"],
)
def test_without_revisions_it_says_nothing(untold: Operation) -> None:
    assert judged(FIRST, untold)[0] is UNKNOWN


def test_looks_between_the_same_places_keep_their_own_order() -> None:
    around = (
        FIRST,
        op("delete", None, (2, 11), revision=6),
        op("write", 2, (3, 12), revision=7),
    )
    absent, failed = op("read", None, (4, 5)), op("cas", [2, 3], (6, 7), fail="precondition_failed")
    assert judged(*around, absent, failed)[0] is VALID
    present = op("cas", [1, 3], (8, 9), fail="precondition_failed")
    assert judged(*around, absent, present)[0] is VALID
    only_first = op("write", 5, (6, 7), fail="precondition_failed", asked_revision=0)
    assert judged(*around, only_first)[0] is VALID
    assert judged(*around, absent, only_first, op("read", 1, (8, 9), revision=5))[0] is INVALID


class TestWholeStore:
    def test_revisions_rise_in_real_time_across_keys(self) -> None:
        result = check(
            history(op("write", 1, (0, 1), key="a", revision=7), op("write", 1, (2, 3), key="b", revision=6))
        )
        assert [(finding.kind, finding.ops) for finding in result.findings] == [("revision went back", (0, 2))]

    def test_a_read_counts_as_knowledge_too(self) -> None:
        lost, seen = op("write", 1, (0, None), key="a"), op("read", 1, (1, 2), key="a", revision=7)
        result = check(history(lost, seen, op("write", 1, (3, 4), key="b", revision=7)))
        assert result.findings[0].kind == "revision went back"

    def test_one_revision_for_two_keys(self) -> None:
        result = check(
            history(op("write", 1, (0, 3), key="a", revision=7), op("write", 1, (1, 2), key="b", revision=7))
        )
        assert result.findings[0].kind == "repeated revision"

    def test_a_read_that_is_stale_only_in_the_light_of_another_key(self) -> None:
        a = op("write", 1, (0, 9), key="a", revision=5)
        b = op("write", 1, (1, 2), key="b", revision=6)
        hidden = op("read", None, (3, 4), key="a")
        assert check_key([a, hidden]).verdict is VALID
        result = check(history(a, b, hidden))
        assert [(finding.kind, finding.ops) for finding in result.findings] == [("stale read", (0, 1, 3))]
        deleted = op("delete", None, (5, None), key="a")
        assert check(history(a, b, op("read", None, (6, 7), key="a"), deleted)).verdict is VALID

    def test_a_key_that_fails_is_among_the_findings(self) -> None:
        old = op("read", 1, (4, 5), revision=5, level="one")
        newer, stale = op("write", 2, (2, 3), revision=6), op("read", 1, (6, 7), revision=5)
        assert check(history(FIRST, newer, old)).verdict is VALID
        result = check(history(FIRST, newer, old, stale))
        assert [(finding.kind, finding.ops) for finding in result.findings] == [
            ("not linearizable", (2, 6)),
            ("stale read", (2, 6)),
        ]

    def test_counts(self) -> None:
        result = check(history(FIRST, op("read", 1, (2, 3), revision=5), op("write", 1, (4, 5), key="b")))
        assert (result.verdict, result.keys, result.undecided, result.mutations, result.reads) == (UNKNOWN, 2, 1, 1, 1)
        assert check(history()).verdict is UNKNOWN
