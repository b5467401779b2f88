"""The checker of leases: what was promised by each keepalive, and that nothing stays for ever."""

import pytest

from kvjepsen.checking import leases
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import FINAL, GONE, Operation
from tests.support.histories import history, op

# Moments are milliseconds: the key is attached at 0 with 30 ms to live, and kept alive at 20.
ATTACHED = op("attach", 30_000_000, (0, 1))
KEPT = op("keep", 50_000_000, (20, 22))


def read(shown: int | None, began: int, ended: int, level: str = "quorum") -> Operation:
    return op("read", shown, (began, ended), level=level)


def kinds(*operations: Operation) -> set[str]:
    return {finding.kind for finding in leases.check(history(*operations)).findings}


def test_a_key_stays_and_is_gone_in_the_end() -> None:
    gone = op("read", None, (90, 91), client=FINAL, level="quorum")
    result = leases.check(history(ATTACHED, read(1, 2, 3), KEPT, read(1, 40, 41), gone))
    assert (result.verdict, result.keys, result.keepalives) == (Verdict.VALID, 1, 1)
    assert (result.judged, result.expired) == (3, 1)  # the keepalive itself is judged, too


@pytest.mark.parametrize(("began", "ended"), [(2, 3), (28, 29), (23, 49)])
def test_it_must_not_be_gone_while_it_is_kept_alive(began: int, ended: int) -> None:
    kept = () if began == 2 else (KEPT,)
    assert kinds(ATTACHED, *kept, read(None, began, ended)) == {"too early"}


def test_a_keepalive_must_not_be_told_so_either() -> None:
    assert kinds(ATTACHED, op("keep", 50_000_000, (20, 22), fail=GONE)) == {"too early"}
    assert kinds(ATTACHED, op("keep", 70_000_000, (31, 32), fail=GONE)) == set()


@pytest.mark.parametrize(
    "operations",
    [
        (ATTACHED, read(None, 29, 30)),  # its time was over when the answer came
        (ATTACHED, KEPT, read(None, 21, 31)),  # it began before the keepalive was answered
        (ATTACHED, op("keep", 50_000_000, (20, None)), read(None, 32, 33)),  # nobody knows of the keepalive
        (ATTACHED, op("keep", 50_000_000, (20, 22), fail="no_leader"), read(None, 32, 33)),
        (ATTACHED, read(None, 2, 3, "one")),  # another node may be behind
        (op("attach", 30_000_000, (0, None)), read(None, 2, 3)),
    ],
)
def test_nothing_else_was_promised(operations: tuple[Operation, ...]) -> None:
    assert kinds(*operations) == set()


@pytest.mark.parametrize("level", ["quorum", "one"])
def test_a_key_that_stays_is_accused(level: str) -> None:
    stays = op("read", 1, (90, 91), client=FINAL, level=level)
    assert kinds(ATTACHED, stays) == {"stayed"}


def test_nothing_judged_is_nothing_shown() -> None:
    assert leases.check(history(ATTACHED)).verdict is Verdict.UNKNOWN
