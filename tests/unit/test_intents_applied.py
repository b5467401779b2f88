"""What a level ONE write does once it is applied: rules 5 and 8 of kvstore/state/machine.py."""

from typing import Any

import pytest

from kvstore.limits import NAME_CHARS_MAX
from kvstore.model.commands import Command, Op, Origin, UnknownCommand, close_session, delete, open_session, put
from kvstore.model.results import APPLIED, DUPLICATE, NOT_FOUND, SUPERSEDED, OpResult, Record
from kvstore.model.stamp import Stamp
from kvstore.state.machine import Machine
from tests.support.machines import (
    apply,
    apply_intents,
    command,
    contents_of,
    intent_delete,
    intent_put,
    small_machine,
)

LOST = OpResult(SUPERSEDED, 0, 0)
DRIFT_MS = 1_000


def intend(machine: Machine, *ops: Op, at: int = 0, node: str = "n2", wall_ms: int = 0) -> list[OpResult]:
    """The next intents of `node`."""
    mark = machine.mark(node)[1]
    return apply_intents(machine, Origin(node, 7, 0, mark + 1, wall_ms), *ops, at=at)


def test_an_intent_carries_its_nodes_stamp_and_its_own_number() -> None:
    machine = Machine()
    apply(machine, put(b"other", b""), at=5_000)
    results = intend(machine, intent_put(b"a", b"1", 4_990, 3), intent_put(b"b", b"2", 5_600, 0), at=5_001)
    assert results == [OpResult(APPLIED, 2, 1), OpResult(APPLIED, 3, 1)]
    assert machine.get(b"a") == Record(b"1", 2, 2, 1, 0, Stamp(4_990, 3, "n2", 1))
    assert machine.get(b"b") == Record(b"2", 3, 3, 1, 0, Stamp(5_600, 0, "n2", 2))


def test_an_older_intent_does_not_overwrite_a_newer_write() -> None:
    for clients_write in (True, False):
        machine = Machine()
        if clients_write:
            apply(machine, put(b"k", b"new"), at=1_000)
        else:
            intend(machine, intent_put(b"k", b"new", 1_000), at=1_000, node="n3")
        before = (machine.revision, machine.digest, machine.get(b"k"))
        assert intend(machine, intent_put(b"k", b"old", 999), intent_delete(b"k", 999, 9), at=1_001) == [LOST, LOST]
        assert (machine.revision, machine.digest, machine.get(b"k")) == before
        assert machine.mark("n2") == (7, 2)


def test_a_newer_intent_overwrites() -> None:
    machine = Machine()
    apply(machine, put(b"k", b"old"), at=1_000)
    assert intend(machine, intent_put(b"k", b"new", 1_000, 1)) == [OpResult(APPLIED, 2, 2)]
    assert machine.get(b"k") == Record(b"new", 1, 2, 2, 0, Stamp(1_000, 1, "n2", 1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1_000, 0, "n2"), (1_001, 0, "n1")),
        ((1_000, 0, "n2"), (1_000, 1, "n1")),
        ((1_000, 0, "n1"), (1_000, 0, "n2")),
    ],
)
def test_stamps_are_compared_by_time_counter_and_node_whatever_order_they_come_in(
    one: tuple[int, int, str], other: tuple[int, int, str]
) -> None:
    contents = []
    for first, second in ((one, other), (other, one)):
        machine = Machine()
        for ms, counter, node in (first, second):
            intend(machine, intent_put(b"k", node.encode(), ms, counter), at=900, node=node)
        contents.append(machine.get(b"k"))
    assert [each is not None and each.value for each in contents] == [other[2].encode()] * 2


def test_a_deleted_key_is_not_resurrected_by_an_older_intent() -> None:
    machine = Machine()
    apply(machine, put(b"k", b"v"), at=1_000)
    apply(machine, delete(b"k"), at=1_010)
    before = (machine.revision, machine.digest)
    assert machine.stamp_of(b"k") == Stamp(1_010, 0, "n1", 0)
    assert intend(machine, intent_put(b"k", b"old", 1_005), intent_delete(b"k", 1_009), at=1_020) == [LOST, LOST]
    assert (machine.revision, machine.digest, machine.get(b"k"), machine.tombstone_count) == (*before, None, 1)
    assert intend(machine, intent_put(b"k", b"new", 1_011), at=1_020) == [OpResult(APPLIED, 3, 1)]
    assert machine.tombstone_count == 0


def test_below_the_floor_of_dropped_tombstones_an_absent_key_is_not_created() -> None:
    machine = small_machine(tombstones_max=1)
    apply(machine, put(b"a", b""), put(b"b", b""), at=1_000)
    apply(machine, delete(b"a"), at=1_010)
    apply(machine, delete(b"b"), at=1_020)
    assert machine.stamp_floor == machine.stamp_of(b"a") == machine.stamp_of(b"never") == Stamp(1_010, 0, "n1", 0)
    results = intend(
        machine,
        intent_put(b"a", b"old", 1_009),
        intent_put(b"never", b"old", 1_009),
        intent_delete(b"never", 1_009),
        intent_put(b"never", b"new", 1_011),
        at=1_030,
    )
    assert results == [LOST, LOST, LOST, OpResult(APPLIED, 5, 1)]
    # A key that is there has a stamp of its own; the floor does not count for it.
    apply_intents(machine, Origin("n3", 8, 0, 1), intent_put(b"present", b"1", 1_100), at=1_030)
    apply(machine, put(b"x", b""), at=1_040)
    apply(machine, delete(b"x"), delete(b"never"), at=2_000)
    assert machine.stamp_floor > Stamp(1_100, 0, "n3", 1)
    assert apply_intents(machine, Origin("n3", 8, 0, 2), intent_put(b"present", b"2", 1_101)) == [
        OpResult(APPLIED, machine.revision, 2)
    ]


def test_dropping_a_tombstone_with_an_older_stamp_does_not_lower_the_floor() -> None:
    machine = small_machine(tombstones_max=1)
    apply(machine, put(b"a", b""), at=1_000)
    apply(machine, delete(b"a"), at=1_010)
    # Applied later, and older by its stamp: none of the keys had one that says no.
    intend(machine, intent_delete(b"b", 500), at=1_020)
    assert machine.stamp_floor == Stamp(1_010, 0, "n1", 0)
    apply(machine, put(b"c", b""), delete(b"c"), at=1_030)
    assert machine.stamp_floor == Stamp(1_010, 0, "n1", 0)


def test_deleting_an_absent_key_takes_a_revision_and_leaves_a_tombstone() -> None:
    machine = Machine()
    digest = machine.digest
    assert intend(machine, intent_delete(b"k", 1_000), at=1_000) == [OpResult(APPLIED, 1, 0)]
    assert (machine.revision, machine.tombstone_count, len(machine)) == (1, 1, 0)
    assert machine.digest != digest
    assert machine.stamp_of(b"k") == Stamp(1_000, 0, "n2", 1)
    assert intend(machine, intent_put(b"k", b"old", 999), at=1_001, node="n3") == [LOST]
    assert intend(machine, intent_delete(b"k", 1_002), at=1_002) == [OpResult(APPLIED, 2, 0)]
    assert (machine.tombstone_count, machine.stamp_of(b"k")) == (1, Stamp(1_002, 0, "n2", 2))
    assert contents_of(machine.snapshot())["tombstones"] == [[b"k", [1_002, 0, "n2", 2], 2]]


def test_tombstones_of_intents_are_bounded_like_others() -> None:
    machine = small_machine(tombstones_max=3)
    intend(machine, *(intent_delete(b"%d" % number, 1_000 + number) for number in range(10)), at=1_000)
    assert machine.tombstone_count == 3
    assert machine.stamp_floor == Stamp(1_006, 0, "n2", 7)


def test_a_stamp_is_at_most_the_drift_ahead_of_its_entry() -> None:
    machine = Machine()
    for ms, bounded in ((5_999, 5_999), (6_000, 6_000), (6_001, 6_000), (2**60, 6_000)):
        fresh = Machine()
        intend(fresh, intent_put(b"k", b"v", ms), at=5_000)
        assert fresh.stamp_of(b"k") == Stamp(bounded, 0, "n2", 1)
    intend(machine, intent_put(b"past", b"v", 1), at=5_000)
    assert machine.stamp_of(b"past") == Stamp(1, 0, "n2", 1)


def test_where_log_time_is_ahead_of_the_leaders_clock_an_intent_is_bounded_to_its_entry() -> None:
    machine = Machine()
    apply(machine, at=9_000)
    intend(machine, intent_put(b"k", b"v", 20_000), at=5_000, wall_ms=5_000)
    assert machine.stamp_of(b"k") == Stamp(9_000, 1, "n2", 1)


def test_a_node_whose_clock_is_far_ahead_does_not_drive_log_time() -> None:
    machine = Machine()
    session = apply(machine, open_session(), at=5_000)[0].revision
    for number in range(600):
        at = 5_000 + number
        intend(machine, intent_put(b"k", b"%d" % number, at + 10_000_000), at=at, wall_ms=at)
        assert machine.last_stamp.ms <= at + DRIFT_MS
        assert machine.get(b"k").value == b"%d" % number  # type: ignore[union-attr]
    once = (session, 1, 1)
    assert apply(machine, put(b"other", b"", None, once), at=5_600)[0].status == APPLIED


def test_intents_of_a_node_whose_clock_is_far_ahead_keep_their_order() -> None:
    machine = Machine()
    results = intend(
        machine,
        intent_put(b"k", b"1", 6_000, 7),
        intent_put(b"k", b"2", 6_001, 5),
        intent_put(b"k", b"3", 6_002, 0),
        at=5_000,
    )
    results += intend(machine, intent_put(b"k", b"4", 6_003, 0), at=5_000)
    assert results == [OpResult(APPLIED, number, number) for number in (1, 2, 3, 4)]
    record = machine.get(b"k")
    assert record is not None
    assert record.value == b"4"


def test_clients_write_above_every_intent_that_was_applied() -> None:
    machine = Machine()
    intend(machine, intent_put(b"k", b"ahead", 5_900, 4), at=5_000)
    assert machine.last_stamp == Stamp(5_900, 4, "n2", 1)
    assert apply(machine, put(b"k", b"later"), at=5_001) == [OpResult(APPLIED, 2, 2)]
    assert machine.stamp_of(b"k") == machine.last_stamp == Stamp(5_900, 5, "n1", 0)
    # So an intent between the two is older than what the client was told.
    assert intend(machine, intent_put(b"k", b"between", 5_900, 4), at=5_002) == [LOST]


def test_an_intent_that_is_superseded_raises_the_stamp_and_one_that_is_a_duplicate_does_not() -> None:
    machine = Machine()
    apply(machine, at=5_000)
    intend(machine, intent_put(b"k", b"new", 5_900), at=5_000)
    intend(machine, intent_put(b"k", b"old", 5_800), at=5_000, node="n3")
    assert machine.last_stamp.ms == 5_900
    entry = Stamp(6_000, 0, "n1", 0)
    apply_intents(machine, Origin("n2", 7, 0, 1), intent_put(b"k", b"new", 6_500), at=6_000)
    assert machine.last_stamp == entry


def test_a_mixed_batch_applies_supersedes_and_skips() -> None:
    machine = Machine()
    apply(machine, put(b"new", b"x"), put(b"old", b"x"), at=1_000)
    first = [intent_put(b"a", b"1", 1_001), intent_put(b"a", b"2", 1_002)]
    intend(machine, *first)
    before = machine.revision
    results = apply_intents(
        machine,
        Origin("n2", 7, 0, 1),
        *first,
        intent_put(b"new", b"late", 900),
        intent_delete(b"old", 1_003),
        intent_put(b"old", b"again", 1_004),
        intent_delete(b"nowhere", 1_005),
        intent_put(b"nowhere", b"late", 1_004),
    )
    assert results == [
        OpResult(DUPLICATE, 0, 0),
        OpResult(DUPLICATE, 0, 0),
        LOST,
        OpResult(APPLIED, before + 1, 0),
        OpResult(APPLIED, before + 2, 1),
        OpResult(APPLIED, before + 3, 0),
        LOST,
    ]
    assert machine.mark("n2") == (7, 7)


def test_what_is_really_held_can_be_inspected_and_adds_up_to_the_digest() -> None:
    machine = Machine()
    apply(machine, put(b"a", b"1"), put(b"b", b"2"), at=1_000)
    intend(machine, intent_put(b"c", b"3", 1_100), intent_delete(b"a", 1_100), intent_delete(b"d", 1_100), at=1_000)
    seen = {key: machine.inspect(key) for key in (b"a", b"b", b"c", b"d", b"never")}
    assert [revision for revision, _ in seen.values()] == [4, 2, 3, 5, 0]
    assert seen[b"never"] == (0, 0)
    assert sum(digest for _, digest in seen.values()) % 2**64 == machine.digest


GOOD = Origin("n2", 7, 0, 1)


@pytest.mark.parametrize(
    "broken",
    [
        command((0, b"k", b"v", 1, 0), origin=GOOD),
        command((0, b"k", b"v", 1, 0, None, None), origin=GOOD),
        command((0, b"k", 1, 0, None), origin=GOOD),
        command((1, b"k", b"v", 1, 0, None), origin=GOOD),
        command((1, b"k", 1, 0), origin=GOOD),
        command((2, b"k", 1, 0, None), origin=GOOD),
        command(open_session(), origin=GOOD),
        command(close_session(1), origin=GOOD),
        command(put(b"k", b"v"), origin=GOOD),
        command([0, b"k", b"v", 1, 0, None], origin=GOOD),
        command((0, "k", b"v", 1, 0, None), origin=GOOD),
        command((0, b"k", None, 1, 0, None), origin=GOOD),
        command((0, b"k", b"v", -1, 0, None), origin=GOOD),
        command((0, b"k", b"v", 1, -1, None), origin=GOOD),
        command((0, b"k", b"v", 1.0, 0, None), origin=GOOD),
        command((0, b"k", b"v", True, 0, None), origin=GOOD),
        command((0, b"k", b"v", 2**63, 0, None), origin=GOOD),
        command((0, b"k", b"v", 1, 2**64 - 1, None), origin=GOOD),
        command((0, b"k", b"v", 1, 0, b""), origin=GOOD),
        command((0, b"k", b"v", 1, 0, b"x" * 257), origin=GOOD),
        command((0, b"k", b"v", 1, 0, "once"), origin=GOOD),
        command((0, b"k", b"v", 1, 0, (1, 1, 1)), origin=GOOD),
        command(origin=Origin("n2", 0, 0, 1)),
        command(origin=Origin("n2", 7, 0, 0)),
        command(origin=Origin("n2", 7, -1, 1)),
        command(origin=Origin("n2", -7, 0, 1)),
        command(origin=Origin("n2", True, 0, 1)),
        command(origin=Origin(b"n2", 7, 0, 1)),  # type: ignore[arg-type]
        command(origin=Origin("", 7, 0, 1)),
        command(origin=Origin("n" * (NAME_CHARS_MAX + 1), 7, 0, 1)),
        command(origin=GOOD, session=1),
        command(origin=GOOD)._replace(kind=0),
        command()._replace(kind=1),
        command()._replace(kind=2),
        command(stamp=Stamp(1, 2**63, "n1", 0)),
        command(stamp=Stamp(2**64 - 1, 0, "n1", 0)),
        command(stamp=Stamp(1, 0, "n1", 2**63)),
        command((2, 1)),
        command((3,)),
        command((3, 1, 1)),
        command((3, -1)),
        command((3, b"1")),
        command((4, 1)),
        command(put(b"k", b"v", None, (1, 1))),  # type: ignore[arg-type]
        command(put(b"k", b"v", None, (1, 1, 1, 1))),  # type: ignore[arg-type]
        command(put(b"k", b"v", None, (1, -1, 1))),
        command(put(b"k", b"v", None, (1, 1, "1"))),  # type: ignore[arg-type]
        command(put(b"k", b"v", None, (True, 1, 1))),
        command(put(b"k", b"v", None, [1, 1, 1])),  # type: ignore[arg-type]
        command(put(b"k", b"v", None, b"")),
        command(put(b"k", b"v", None, b"x" * 257)),
        command(put(b"k", b"v", None, "once")),  # type: ignore[arg-type]
        command((0, b"k", b"v", None, None)),
        command((1, b"k", None, None)),
        command((*delete(b"k", None, b"once"), b"once")),
    ],
)
def test_a_command_of_unknown_shape_changes_nothing_whatever_stands_before_it(broken: Command) -> None:
    machine = Machine()
    apply(machine, open_session(), put(b"k", b"v", once=b"once"), put(b"k", b"w", once=(1, 1, 1)), at=1_000)
    intend(machine, intent_put(b"k", b"x", 1_001))
    before = list(machine.snapshot())
    good: Any = intent_put(b"k", b"y", 1_002) if broken.origin is not None else put(b"k", b"y", once=(1, 2, 2))
    for ops in (broken.ops, [good, *broken.ops]):
        with pytest.raises(UnknownCommand):
            machine.apply(machine.applied_index + 1, 1, broken._replace(ops=ops))
    assert list(machine.snapshot()) == before


def test_the_longest_name_and_the_highest_stamp_are_applied_and_restored() -> None:
    machine = Machine()
    node = "n" * NAME_CHARS_MAX
    highest = 2**63 - 1
    machine.apply(2, 1, Command(0, [put(b"a", b"")], Stamp(highest, highest, node, highest)))
    origin = Origin(node, 2**64 - 1, 0, 1)
    machine.apply(3, 1, command(intent_put(b"b", b"", highest, highest), origin=origin))
    apply(machine, put(b"c", b""), delete(b"nothing"))
    assert machine.mark(node) == (2**64 - 1, 1)
    assert len(contents_of(machine.snapshot())["origins"]) == 1
    assert (machine.revision, apply(machine, delete(b"nothing"))) == (3, [OpResult(NOT_FOUND, 3, 0)])
