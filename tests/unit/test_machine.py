"""What single commands do to the state machine; long random histories are in tests/property/test_machine_model.py."""

import gc
import os
import subprocess
import sys
from typing import Any

import pytest

from kvstore.model.commands import OP_DELETE, OP_PUT, Command, Op, UnknownCommand, delete, put
from kvstore.model.results import APPLIED, NOT_FOUND, PRECONDITION_FAILED, OpResult, Record
from kvstore.model.stamp import ZERO_STAMP, Stamp
from kvstore.model.transactions import transaction
from kvstore.state.machine import Machine, OutOfOrder
from tests.support.machines import load, small_machine

PAGE_BYTES = 1 << 20


def stamp(ms: int, node: str = "n1") -> Stamp:
    return Stamp(ms, 0, node, 0)


def apply(machine: Machine, *ops: Op, at: int = 0) -> list[OpResult]:
    return machine.apply(machine.applied_index + 1, 1, Command(0, list(ops), stamp(at)))


def machine_after(*ops: Op) -> Machine:
    """Each operation in an entry of its own, a millisecond apart."""
    machine = Machine()
    for ms, op in enumerate(ops, 1):
        apply(machine, op, at=ms)
    return machine


def keys(machine: Machine, start: bytes = b"", end: bytes | None = None, **options: Any) -> list[bytes]:
    options = {"limit": 1000, "bytes_max": PAGE_BYTES} | options
    return [key for key, _ in machine.range(start, end, **options)[0]]


def test_a_new_machine_stands_after_the_first_no_op() -> None:
    machine = Machine()
    assert (machine.applied_index, machine.applied_term, machine.revision, machine.digest, len(machine)) == (
        1,
        0,
        0,
        0,
        0,
    )
    assert machine.last_stamp == ZERO_STAMP


def test_a_put_creates_and_the_next_one_overwrites() -> None:
    machine = Machine()
    assert apply(machine, put(b"k", b"a"), at=5) == [OpResult(APPLIED, 1, 1)]
    assert machine.get(b"k") == Record(b"a", 1, 1, 1, 0, stamp(5))
    assert apply(machine, put(b"x", b""), put(b"k", b"b"), at=9) == [OpResult(APPLIED, 2, 1), OpResult(APPLIED, 3, 2)]
    record = machine.get(b"k")
    assert record == Record(b"b", 1, 3, 2, 0, stamp(9))
    assert type(record) is Record
    assert type(record.stamp) is Stamp
    assert (machine.revision, machine.applied_index, machine.applied_term, len(machine)) == (3, 3, 1, 2)


def test_a_put_of_the_same_value_is_a_new_revision() -> None:
    machine = machine_after(put(b"k", b"v"))
    before = machine.digest
    assert apply(machine, put(b"k", b"v")) == [OpResult(APPLIED, 2, 2)]
    assert machine.digest != before


def test_a_key_that_was_deleted_starts_again_at_version_1() -> None:
    machine = machine_after(put(b"k", b"a"), put(b"k", b"b"))
    assert apply(machine, delete(b"k")) == [OpResult(APPLIED, 3, 0)]
    assert machine.get(b"k") is None
    assert machine.tombstone_count == 1
    assert apply(machine, put(b"k", b"c")) == [OpResult(APPLIED, 4, 1)]
    assert machine.get(b"k") == Record(b"c", 4, 4, 1, 0, machine.last_stamp)
    assert machine.tombstone_count == 0


def test_deleting_what_is_absent_uses_no_revision_and_leaves_nothing() -> None:
    machine = machine_after(put(b"k", b"v"))
    digest = machine.digest
    assert apply(machine, delete(b"other")) == [OpResult(NOT_FOUND, 1, 0)]
    assert (machine.revision, machine.digest, machine.tombstone_count) == (1, digest, 0)
    assert machine.applied_index == 3


@pytest.mark.parametrize(
    ("present", "condition", "holds"),
    [
        (False, None, True),
        (False, 0, True),
        (False, -1, False),
        (False, 1, False),
        (True, None, True),
        (True, 0, False),
        (True, -1, True),
        (True, 2, True),
        (True, 1, False),
        (True, 3, False),
    ],
)
def test_conditions_are_judged_on_presence_and_mod_revision(present: bool, condition: int | None, holds: bool) -> None:
    for op in (put(b"k", b"new", condition), delete(b"k", condition)):
        history = (put(b"k", b"a"), put(b"k", b"b")) if present else (put(b"x", b"a"), put(b"x", b"b"))
        machine = machine_after(*history)
        digest = machine.digest
        (result,) = apply(machine, op)
        if not holds:
            assert result == (OpResult(PRECONDITION_FAILED, 2, 2) if present else OpResult(PRECONDITION_FAILED, 0, 0))
            assert (machine.revision, machine.digest) == (2, digest)
        elif op[0] == delete(b"")[0] and not present:
            assert result == OpResult(NOT_FOUND, 2, 0)
        else:
            assert result.status == APPLIED
            assert result.revision == machine.revision == 3


def test_operations_of_one_envelope_see_each_other_in_order() -> None:
    machine = Machine()
    results = apply(machine, put(b"k", b"a", 0), put(b"k", b"b", 0), put(b"k", b"c", 1), delete(b"k", 2), delete(b"k"))
    assert results == [
        OpResult(APPLIED, 1, 1),
        OpResult(PRECONDITION_FAILED, 1, 1),
        OpResult(APPLIED, 2, 2),
        OpResult(APPLIED, 3, 0),
        OpResult(NOT_FOUND, 3, 0),
    ]


def test_stamps_rise_when_the_clock_of_a_new_leader_is_behind() -> None:
    machine = Machine()
    apply(machine, put(b"a", b"1"), put(b"b", b"1"), at=100)
    apply(machine, put(b"c", b"1"), at=100)
    machine.apply(4, 2, Command(0, [put(b"d", b"1")], stamp(50, "n2")))
    machine.apply(5, 2, Command(0, [], stamp(100, "n2")))
    stamps = [record.stamp for _, record in machine.range(b"", None, limit=9, bytes_max=PAGE_BYTES)[0]]
    assert stamps == [stamp(100), stamp(100), Stamp(100, 1, "n1", 0), Stamp(100, 2, "n2", 0)]
    assert machine.last_stamp == Stamp(100, 3, "n2", 0)


@pytest.mark.parametrize(
    "op",
    [
        (),
        (0,),
        (9, b"k", b"v", None),
        (None, b"k", None),
        (0, b"k", b"v"),
        (0, b"k", b"v", None, None),
        (1, b"k", b"v", None),
        (0, "k", b"v", None),
        (0, b"k", "v", None),
        (0, b"k", None, None),
        (0, b"k", b"v", -2),
        (0, b"k", b"v", True),
        (0, b"k", b"v", "0"),
        (1, None, None),
        (1, b"k", 1.0),
        [0, b"k", b"v", None],
        "put",
        7,
    ],
)
def test_an_operation_of_unknown_shape_stops_before_anything_of_its_envelope_is_applied(op: Any) -> None:
    machine = machine_after(put(b"k", b"v"))
    before = b"".join(machine.snapshot())
    with pytest.raises(UnknownCommand):
        apply(machine, put(b"k", b"changed"), delete(b"k"), op)
    assert b"".join(machine.snapshot()) == before


@pytest.mark.parametrize(
    "command",
    [
        Command(1, [], stamp(1)),
        Command(0, [], stamp(1), session=("s", 1)),
        Command(0, [], stamp(1), origin="n2"),
        Command(0, 7, stamp(1)),  # type: ignore[arg-type]
        Command(0, [], Stamp("1", 0, "n1", 0)),  # type: ignore[arg-type]
        Command(0, [], Stamp(-1, 0, "n1", 0)),
        Command(0, [], Stamp(1, 0, b"n1", 0)),  # type: ignore[arg-type]
    ],
)
def test_an_envelope_that_this_build_cannot_apply_changes_nothing(command: Command) -> None:
    machine = machine_after(put(b"k", b"v"))
    before = b"".join(machine.snapshot())
    with pytest.raises(UnknownCommand):
        machine.apply(3, 1, command)
    assert b"".join(machine.snapshot()) == before


def test_entries_out_of_order_are_refused() -> None:
    machine = machine_after(put(b"k", b"v"), put(b"k", b"w"))
    assert (machine.applied_index, machine.applied_term) == (3, 1)
    for index, term in ((3, 1), (5, 1), (1, 1), (4, 0)):
        with pytest.raises(OutOfOrder):
            machine.apply(index, term, Command(0, [put(b"k", b"x")], stamp(9)))
        with pytest.raises(OutOfOrder):
            machine.skip(index, term)
    assert (machine.applied_index, machine.revision) == (3, 2)


def test_a_skipped_entry_counts_as_applied_and_changes_nothing_else() -> None:
    machine = machine_after(put(b"k", b"v"))
    before = (machine.revision, machine.digest, machine.last_stamp)
    machine.skip(3, 7)
    assert (machine.applied_index, machine.applied_term) == (3, 7)
    assert (machine.revision, machine.digest, machine.last_stamp) == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([put(b"a", b"1")], [put(b"a", b"2")], id="value"),
        pytest.param([put(b"a", b"1")], [put(b"b", b"1")], id="key"),
        pytest.param([put(b"a", b"1"), put(b"b", b"2")], [put(b"a", b"2"), put(b"b", b"1")], id="exchanged values"),
        pytest.param([put(b"a", b"1"), put(b"b", b"1")], [put(b"b", b"1"), put(b"a", b"1")], id="exchanged revisions"),
        pytest.param([put(b"ab", b"c")], [put(b"a", b"bc")], id="border of key and value"),
        pytest.param([put(b"a", b"1")], [put(b"a", b"1"), put(b"a", b"1")], id="version and revision"),
        pytest.param([put(b"a", b"1"), put(b"b", b"1"), delete(b"b")], [put(b"a", b"1")], id="tombstone"),
        pytest.param(
            [put(b"a", b"1"), put(b"b", b"1"), delete(b"a"), delete(b"b")],
            [put(b"a", b"1"), put(b"b", b"1"), delete(b"b"), delete(b"a")],
            id="exchanged tombstones",
        ),
    ],
)
def test_the_digest_tells_different_contents_apart(one: list[Op], other: list[Op]) -> None:
    assert machine_after(*one).digest != machine_after(*other).digest


def test_the_digest_covers_the_stamp_of_records_and_of_tombstones() -> None:
    def written_at(put_ms: int, delete_ms: int) -> int:
        machine = Machine()
        apply(machine, put(b"a", b"1"), at=put_ms)
        apply(machine, put(b"b", b"1"), at=5)
        apply(machine, delete(b"b"), at=delete_ms)
        return machine.digest

    assert len({written_at(1, 7), written_at(2, 7), written_at(1, 8)}) == 3


def test_the_digest_does_not_depend_on_operations_that_changed_nothing() -> None:
    plain = machine_after(put(b"a", b"1"))
    noisy = Machine()
    apply(noisy, delete(b"a"), put(b"a", b"1"), put(b"a", b"2", 0), delete(b"b", -1), at=1)
    noisy.skip(3, 1)
    assert noisy.digest == plain.digest


def test_a_page_holds_at_least_one_record_and_says_where_to_go_on() -> None:
    machine = machine_after(*(put(b"k%d" % number, b"x" * 100) for number in range(5)))
    assert machine.range(b"", None, limit=0, bytes_max=PAGE_BYTES) == ([], 5, None)
    page, count, more = machine.range(b"", None, limit=9, bytes_max=1)
    assert ([key for key, _ in page], count, more) == ([b"k0"], 5, b"k0")
    page, count, more = machine.range(b"", None, limit=9, bytes_max=204)
    assert ([key for key, _ in page], count, more) == ([b"k0", b"k1"], 5, b"k1")
    page, count, more = machine.range(b"k1", b"k4", limit=3, bytes_max=PAGE_BYTES)
    assert ([key for key, _ in page], count, more) == ([b"k1", b"k2", b"k3"], 3, None)
    page, count, more = machine.range(b"k1", b"k4", limit=2, bytes_max=PAGE_BYTES, reverse=True)
    assert ([key for key, _ in page], count, more) == ([b"k3", b"k2"], 3, b"k2")
    with pytest.raises(ValueError, match="negative"):
        machine.range(b"", None, limit=-1, bytes_max=1)


def test_bounds_of_a_range() -> None:
    machine = machine_after(*(put(key, b"") for key in (b"a", b"a\x00", b"b", b"\xff", b"\xff\xff")))
    assert keys(machine, b"a", b"a") == keys(machine, b"b", b"a") == keys(machine, b"", b"") == []
    assert machine.range(b"b", b"a", limit=9, bytes_max=PAGE_BYTES)[1] == 0
    assert keys(machine, b"b") == [b"b", b"\xff", b"\xff\xff"]
    assert keys(machine, b"", b"\xff") == [b"a", b"a\x00", b"b"]
    assert keys(machine, b"", after=b"a") == [b"a\x00", b"b", b"\xff", b"\xff\xff"]
    assert keys(machine, b"a\x00", after=b"A") == [b"a\x00", b"b", b"\xff", b"\xff\xff"]
    assert keys(machine, b"", b"b", after=b"z") == []
    assert keys(machine, b"a\x00", after=b"\xff", reverse=True) == [b"b", b"a\x00"]
    assert keys(machine, b"", b"b", after=b"z", reverse=True) == [b"a\x00", b"a"]


def test_records_do_not_burden_the_garbage_collector() -> None:
    machine = Machine()
    apply(machine, put(b"first", b"v"))
    gc.collect()
    before = len(gc.get_objects())
    for batch in range(0, 3000, 10):
        apply(machine, *(put(b"%d" % number, b"v") for number in range(batch, batch + 10)))
    # A tuple is let go of once what it holds is: the stamp in one collection, the records that carry it in the next.
    gc.collect()
    gc.collect()
    assert len(gc.get_objects()) - before < 300


_HISTORY = """
import hashlib, random, sys
from kvstore.model.commands import Command, delete, put
from kvstore.model.stamp import Stamp
from kvstore.state.machine import Machine
machine, dice = Machine(), random.Random(7)
for index in range(2, 400):
    ops = [put(b"%d" % dice.randrange(500), b"%d" % index) for _ in range(5)] + [delete(b"%d" % dice.randrange(500))]
    machine.apply(index, 1, Command(0, ops, Stamp(index, 0, "n1", 0)))
print(machine.digest, hashlib.sha256(b"".join(machine.snapshot())).hexdigest())
"""


def test_processes_with_different_hash_seeds_reach_the_same_bytes() -> None:
    def run(seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        return subprocess.run(
            [sys.executable, "-c", _HISTORY], env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    first = run("1")
    assert len(first) > 64
    assert run("2") == first


def test_history_and_snapshot_agree_where_one_revision_drops_its_own_tombstones() -> None:
    machine = small_machine(tombstones_max=1)
    apply(machine, *(put(key, b"v") for key in (b"a", b"b", b"c")))
    steps = ((OP_DELETE, b"a"), (OP_DELETE, b"b"), (OP_PUT, b"d", b"w", 0))
    apply(machine, transaction((), steps, ()))
    assert (machine.compacted, machine.changes(4, 10)) == (4, [])
    assert load(machine.snapshot()).digest == machine.digest
    apply(machine, put(b"d", b"x"))
    assert [change[:2] for change in machine.changes(4, 10)] == [(5, b"d")]
