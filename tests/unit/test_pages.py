"""Pages at level ONE: the applied state with the pending writes in their place, against a plain merge of two dicts."""

import itertools
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.model.commands import delete, put
from kvstore.model.results import Record
from kvstore.model.stamp import Stamp
from kvstore.node.overlay import Overlay, Pending
from kvstore.state.machine import Machine
from tests.support.machines import apply

KEYS = [b"a", b"a\0", b"a\0\0", b"ab", b"b", b"b\xff", b"c", b"\xff", b"\xff\xff"]
KEY = st.sampled_from(KEYS)
BOUND = st.sampled_from([b"", b"a", b"a\0", b"aa", b"b", b"bb", b"c", b"d", b"\xff", b"\xff\xff\0"])
APPLIED_MS = 50


def with_overlay(
    machine: Machine,
    overlay: Overlay,
    start: bytes,
    end: bytes | None,
    limit: int,
    after: bytes | None,
    reverse: bool,
    bytes_max: int = 1 << 20,
) -> tuple[list[tuple[bytes, Record]], int, bytes | None]:
    shown = overlay.shown(machine, start, end)
    return machine.range(start, end, limit=limit, after=after, bytes_max=bytes_max, reverse=reverse, shown=shown)


class Case(NamedTuple):
    """`merged` is what a range over everything has to show."""

    machine: Machine
    overlay: Overlay
    merged: dict[bytes, bytes]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    machine, overlay = Machine(), Overlay()
    merged: dict[bytes, bytes] = {}
    floors: dict[bytes, int] = {}
    for key, value in draw(st.dictionaries(KEY, st.binary(max_size=3))).items():
        apply(machine, put(key, value), at=APPLIED_MS)
        merged[key], floors[key] = value, APPLIED_MS
    for key in draw(st.lists(KEY, unique=True, max_size=3)):
        if key in merged:
            apply(machine, delete(key), at=APPLIED_MS)
            del merged[key]
            floors[key] = APPLIED_MS
    # Of the pending writes, some are older than what was applied.
    writes = st.tuples(KEY, st.none() | st.binary(max_size=3), st.sampled_from([10, 90]))
    for position, (key, value, ms) in enumerate(sorted(draw(st.lists(writes, max_size=8)), key=lambda each: each[2])):
        overlay.add(key, Pending(position, Stamp(ms, position, "n1", position), value))
        if ms < floors.get(key, 0):
            continue
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = value
    return Case(machine, overlay, merged)


def within(merged: dict[bytes, bytes], start: bytes, end: bytes | None, reverse: bool) -> list[tuple[bytes, bytes]]:
    found = sorted((key, value) for key, value in merged.items() if start <= key and (end is None or key < end))
    return found[::-1] if reverse else found


@given(
    case=cases(),
    start=BOUND,
    end=st.none() | BOUND,
    limit=st.integers(1, 12),
    after=st.none() | BOUND | KEY,
    reverse=st.booleans(),
)
def test_a_page_is_that_of_a_plain_merge_of_both(
    case: Case, start: bytes, end: bytes | None, limit: int, after: bytes | None, reverse: bool
) -> None:
    whole = within(case.merged, start, end, reverse)
    rest = [row for row in whole if after is None or (row[0] < after if reverse else row[0] > after)]
    page, count, following = with_overlay(case.machine, case.overlay, start, end, limit, after, reverse)
    assert [(key, record.value) for key, record in page] == rest[:limit]
    assert count == len(whole)
    assert following == (rest[limit - 1][0] if len(rest) > limit else None)


@given(
    case=cases(),
    start=BOUND,
    end=st.none() | BOUND,
    limit=st.integers(1, 4),
    bytes_max=st.integers(1, 12),
    reverse=st.booleans(),
)
def test_a_walk_from_page_to_page_visits_every_key_once_also_where_bytes_bound_the_pages(
    case: Case, start: bytes, end: bytes | None, limit: int, bytes_max: int, reverse: bool
) -> None:
    visited: list[tuple[bytes, bytes]] = []
    after = None
    for _ in range(2 * len(KEYS) + 2):
        page, _, after = with_overlay(case.machine, case.overlay, start, end, limit, after, reverse, bytes_max)
        rows = [(key, record.value) for key, record in page]
        assert len(rows) <= limit
        assert sum(map(len, itertools.chain(*rows))) <= bytes_max or len(rows) == 1
        visited += rows
        if after is None:
            break
    else:
        pytest.fail("the walk never ended")
    assert visited == within(case.merged, start, end, reverse)


@given(case=cases())
def test_what_is_pending_has_no_revision_and_what_is_applied_keeps_its_record(case: Case) -> None:
    page, _, _ = with_overlay(case.machine, case.overlay, b"", None, 100, None, False)
    for key, record in page:
        shown = case.overlay.over(case.machine, key)
        if shown is None:
            assert record == case.machine.get(key)
        else:
            assert (record.create_revision, record.mod_revision, record.version) == (0, 0, 0)
            assert (record.value, record.stamp) == (shown.value, shown.stamp)


def test_many_pending_deletes_do_not_empty_a_page() -> None:
    machine, overlay = Machine(), Overlay()
    for number in range(200):
        apply(machine, put(b"%03d" % number, b"v"), at=APPLIED_MS)
    for number in range(150):
        overlay.add(b"%03d" % number, Pending(number, Stamp(90, number, "n1", number), None))
    page, count, following = with_overlay(machine, overlay, b"", None, 10, None, False)
    assert [key for key, _ in page] == [b"%03d" % number for number in range(150, 160)]
    assert (count, following) == (50, b"159")
