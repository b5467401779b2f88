"""The overlay: what a read at level ONE shows of this node's own pending writes."""

import pytest

from kvstore.model.commands import Origin, delete, put
from kvstore.model.results import Record
from kvstore.model.stamp import Stamp
from kvstore.node.overlay import Overlay, Pending, as_record
from kvstore.state.machine import Machine
from tests.support.machines import apply, apply_intents, intent_delete, intent_put, small_machine


def pending(position: int, ms: int, value: bytes | None = b"mine", node: str = "n1") -> Pending:
    return Pending(position, Stamp(ms, 0, node, position), value)


def test_a_read_shows_the_newest_pending_write_of_a_key_and_nothing_for_others() -> None:
    overlay, machine = Overlay(), Machine()
    overlay.add(b"k", pending(2, 10, b"first"))
    overlay.add(b"k", pending(3, 11, b"second"))
    assert overlay.over(machine, b"k").value == b"second"
    assert overlay.over(machine, b"other") is None
    assert len(overlay) == 1


def test_an_applied_write_uncovers_nothing_while_a_newer_one_of_its_key_is_pending() -> None:
    overlay, machine = Overlay(), Machine()
    overlay.add(b"k", pending(2, 10))
    overlay.add(b"k", pending(3, 11))
    overlay.remove(b"k", 2)
    assert overlay.over(machine, b"k").position == 3
    overlay.remove(b"k", 3)
    assert overlay.over(machine, b"k") is None
    overlay.remove(b"k", 3)
    assert len(overlay) == 0


def test_a_pending_write_below_the_stamp_of_the_record_is_not_shown() -> None:
    overlay, machine = Overlay(), Machine()
    apply(machine, put(b"k", b"theirs"), at=50)
    overlay.add(b"k", pending(2, 49))
    assert overlay.over(machine, b"k") is None
    overlay.add(b"k", pending(3, 51))
    assert overlay.over(machine, b"k").value == b"mine"


def test_nor_is_one_below_the_stamp_of_a_tombstone() -> None:
    overlay, machine = Overlay(), Machine()
    apply(machine, put(b"k", b"theirs"), at=50)
    apply(machine, delete(b"k"), at=60)
    overlay.add(b"k", pending(2, 55))
    assert overlay.over(machine, b"k") is None


def test_nor_is_one_below_the_floor_that_a_dropped_tombstone_left() -> None:
    overlay, machine = Overlay(), small_machine(tombstones_max=1)
    apply(machine, put(b"a", b"1"), put(b"b", b"1"), at=50)
    apply(machine, delete(b"a"), at=60)
    apply(machine, delete(b"b"), at=70)
    assert machine.stamp_floor.ms == 60
    overlay.add(b"a", pending(2, 55))
    overlay.add(b"never there", pending(3, 55))
    overlay.add(b"later", pending(4, 65))
    assert [overlay.over(machine, key) is not None for key in (b"a", b"never there", b"later")] == [False, False, True]


def test_the_very_stamp_of_the_record_is_still_shown_as_the_state_machine_would_apply_it() -> None:
    """Rule 8 supersedes what is below. The forecast and the rule must agree where both are equal, too."""
    machine, overlay = Machine(), Overlay()
    apply_intents(machine, Origin("n1", 1, 0, 1), intent_put(b"k", b"applied", 10), at=20)
    stamp = machine.get(b"k").stamp
    assert stamp == Stamp(10, 0, "n1", 1)
    overlay.add(b"k", Pending(2, stamp, b"mine"))
    assert overlay.over(machine, b"k") is not None
    overlay.add(b"k", Pending(2, Stamp(10, 0, "n0", 99), b"mine"))
    assert overlay.over(machine, b"k") is None


def test_a_copy_under_a_key_that_another_nodes_copy_has_decided_lies_over_nothing() -> None:
    """n2's deletion was applied, so that of n1 under the same idempotency key changes nothing, and its put is next."""
    machine, overlay = Machine(), Overlay()
    overlay.add(b"k", pending(2, 10, b"mine"))
    overlay.add(b"k", Pending(3, Stamp(12, 0, "n1", 3), None, b"once"))
    assert overlay.over(machine, b"k").value is None
    apply_intents(machine, Origin("n2", 1, 0, 1), intent_delete(b"k", 9, once=b"once"), at=20)
    assert overlay.over(machine, b"k").value == b"mine"
    assert list(overlay.shown(machine, b"", None)) == [b"k"]
    apply_intents(
        machine, Origin("n1", 1, 0, 1), intent_put(b"k", b"mine", 10), intent_delete(b"k", 12, once=b"once"), at=21
    )
    assert machine.get(b"k").value == b"mine"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (b"", None, [b"a", b"b", b"d"]),
        (b"a", b"b", [b"a"]),
        (b"a\0", b"d", [b"b"]),
        (b"b", b"d\0", [b"b", b"d"]),
        (b"e", None, []),
    ],
)
def test_a_range_shows_those_within_its_bounds_in_order_without_those_that_would_lose(start, end, expected) -> None:
    overlay, machine = Overlay(), Machine()
    apply(machine, put(b"c", b"theirs"), at=50)
    for position, key in enumerate((b"d", b"b", b"c", b"a")):
        overlay.add(key, pending(position, 40))
    assert list(overlay.shown(machine, start, end)) == expected


def test_a_pending_write_has_no_revision_yet_and_a_pending_delete_no_record() -> None:
    assert as_record(pending(2, 10)) == Record(b"mine", 0, 0, 0, 0, Stamp(10, 0, "n1", 2))
    assert as_record(pending(2, 10, None)) is None
