"""The ledger of writes at level ONE finds what is lost, doubled, resurrected or out of order."""

from collections.abc import Callable, Mapping
from typing import cast

import pytest

from kvjepsen.handed import Handed
from kvstore.client import AsyncClient, WriteResult
from kvstore.model.levels import Level
from kvstore.model.results import Receipt, Record
from kvstore.model.stamp import ZERO_STAMP

KEY = b"k"


class Receipts:
    """A client that knows receipts: id -> (state, revision, reason)."""

    def __init__(self, known: Mapping[str, tuple[str, int | None, str | None]]) -> None:
        self._known = known

    async def wait_receipt(self, receipt_id: str, timeout_s: float | None = None) -> Receipt:
        state, revision, reason = self._known[receipt_id]
        return Receipt(receipt_id, Level.ONE, state, revision, reason)  # type: ignore[arg-type]


def one(receipt: str) -> WriteResult:
    return WriteResult(KEY, None, None, Level.ONE, 1, 1, "pending", receipt)


def quorum(revision: int) -> WriteResult:
    return WriteResult(KEY, revision, 1, Level.QUORUM, 2, 2, "committed", None)


def record(value: bytes, revision: int, version: int) -> Record:
    return Record(value, 1, revision, version, 0, ZERO_STAMP)


Fill = Callable[[Handed], None]


def two_ones(handed: Handed) -> None:
    handed.note(b"1", one("a"))
    handed.note(b"2", one("b"))


async def settled(fill: Fill, known: Mapping[str, tuple[str, int | None, str | None]]) -> tuple[Handed, list[str]]:
    handed = Handed()
    fill(handed)
    return handed, await handed.settle(cast(AsyncClient, Receipts(known)))


async def test_what_is_as_promised_is_not_found_fault_with() -> None:
    handed, wrong = await settled(two_ones, {"a": ("committed", 4, None), "b": ("committed", 7, None)})
    assert wrong == []
    assert handed.judge(KEY, record(b"2", 7, 2), "n1") is None
    assert handed.superseded == 0


@pytest.mark.parametrize(
    "held", [None, record(b"1", 4, 1), record(b"2", 7, 3), record(b"2", 7, 1), record(b"2", 8, 2), record(b"x", 7, 2)]
)
async def test_a_lost_doubled_or_altered_write_is_found(held: Record | None) -> None:
    handed, _ = await settled(two_ones, {"a": ("committed", 4, None), "b": ("committed", 7, None)})
    assert handed.judge(KEY, held, "n1") is not None


async def test_a_deleted_key_must_stay_away_and_versions_begin_anew() -> None:
    def fill(handed: Handed) -> None:
        two_ones(handed)
        handed.note(None, quorum(9))

    handed, wrong = await settled(fill, {"a": ("committed", 4, None), "b": ("superseded", None, None)})
    assert wrong == []
    assert handed.superseded == 1
    assert handed.judge(KEY, None, "n1") is None
    assert handed.judge(KEY, record(b"2", 10, 1), "n1") is not None
    handed.note(b"3", quorum(11))
    assert handed.judge(KEY, record(b"3", 11, 1), "n1") is None


@pytest.mark.parametrize(
    "known",
    [
        {"a": ("committed", 4, None), "b": ("superseded", None, None)},  # by nothing that is newer
        {"a": ("committed", 7, None), "b": ("committed", 4, None)},
        {"a": ("committed", 4, None), "b": ("committed", 4, None)},
        {"a": ("unknown", None, "lost"), "b": ("committed", 4, None)},
        {"a": ("superseded", None, "conflict"), "b": ("committed", 4, None)},
        {"a": ("pending", None, None), "b": ("committed", 4, None)},
    ],
)
async def test_a_receipt_that_breaks_the_promise_is_found(
    known: Mapping[str, tuple[str, int | None, str | None]],
) -> None:
    _, wrong = await settled(two_ones, known)
    assert len(wrong) == 1
