"""The bank's checker: totals, accounts below zero, and what the transfers make of each account in the end."""

from typing import Any

import pytest

from kvjepsen.checking import bank
from kvjepsen.checking.verdict import Verdict
from kvjepsen.records import FINAL, Operation
from tests.support.histories import history, op

OPENED = op("create", {"a": 10, "b": 10}, (0, 1))


def transfer(amount: int, at: tuple[int, int | None], **more: Any) -> Operation:
    return op("transfer", {"from": "a", "to": "b", "amount": amount}, at, **more)


def kinds(*operations: Operation) -> set[str]:
    return {finding.kind for finding in bank.check(history(*operations)).findings}


def final(a: int, b: int) -> Operation:
    return op("read", {"a": a, "b": b}, (90, 91), client=FINAL, level="quorum")


def test_transfers_keep_the_total_and_make_the_balances() -> None:
    known, unknown = transfer(3, (2, 3)), transfer(2, (4, None))
    refused = transfer(5, (6, 7), fail="precondition_failed")
    for shown in (final(7, 13), final(5, 15)):
        result = bank.check(history(OPENED, known, unknown, refused, shown))
        assert (result.verdict, result.acknowledged, result.unknown, result.refused) == (Verdict.VALID, 1, 1, 1)


@pytest.mark.parametrize("level", ["quorum", "one"])
@pytest.mark.parametrize("how", ["whole", "past", "pages"])
def test_no_read_shows_another_total(level: str, how: str) -> None:
    read = op("read", {"a": 7, "b": 10}, (4, 5), level=level)
    read.value = how
    assert kinds(OPENED, transfer(3, (2, 3)), read) == {"wrong total"}


def test_a_read_shows_all_accounts_or_none_before_there_were_any() -> None:
    assert kinds(OPENED, op("read", {"a": 10}, (2, 3))) == {"accounts"}
    assert kinds(OPENED, op("read", {}, (2, 3))) == {"missing"}
    assert kinds(OPENED, op("read", {}, (2, 3), level="one")) == set()
    assert kinds(op("create", {"a": 10, "b": 10}, (0, 3)), op("read", {}, (1, 2))) == set()


def test_no_account_is_below_zero() -> None:
    assert kinds(OPENED, transfer(12, (2, 3)), op("read", {"a": -2, "b": 22}, (4, 5))) == {"below zero"}


@pytest.mark.parametrize("shown", [final(10, 10), final(4, 16), final(8, 12)])
def test_a_transfer_that_is_lost_twice_or_half_made_shows_in_the_end(shown: Operation) -> None:
    assert kinds(OPENED, transfer(3, (2, 3)), shown) == {"wrong balance"}


def test_nothing_read_is_nothing_shown() -> None:
    assert bank.check(history(OPENED, transfer(3, (2, 3)))).verdict is Verdict.UNKNOWN
