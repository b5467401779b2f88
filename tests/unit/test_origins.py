"""Whose level ONE writes were applied how far: rules O1 to O5 of kvstore/state/origins.py, seen through the machine."""

import pytest

from kvstore.model.commands import Op, Origin, put
from kvstore.model.results import APPLIED, DUPLICATE, GAP, SUPERSEDED, WRONG_EPOCH, OpResult
from kvstore.state import origins
from kvstore.state.machine import Machine
from tests.support.machines import apply, apply_intents, contents_of, intent_put, load, small_machine

AGAIN = OpResult(DUPLICATE, 0, 0)
FOREIGN = OpResult(WRONG_EPOCH, 0, 0)


def writes(count: int, first: int = 1) -> list[Op]:
    return [intent_put(b"k", b"%d" % number, 1_000 + number) for number in range(first, first + count)]


def statuses(results: list[OpResult]) -> list[int]:
    return [each.status for each in results]


def test_intents_are_applied_in_the_order_of_their_numbers_and_the_mark_follows() -> None:
    machine = Machine()
    assert machine.mark("n2") == (0, 0)
    assert apply_intents(machine, Origin("n2", 7, 0, 1), *writes(2)) == [
        OpResult(APPLIED, 1, 1),
        OpResult(APPLIED, 2, 2),
    ]
    assert machine.mark("n2") == (7, 2)
    assert apply_intents(machine, Origin("n2", 7, 0, 3), *writes(1, 3)) == [OpResult(APPLIED, 3, 3)]
    assert machine.mark("n2") == (7, 3)


def test_what_comes_again_is_a_duplicate_and_only_the_rest_of_its_batch_is_applied() -> None:
    machine = Machine()
    apply_intents(machine, Origin("n2", 7, 0, 1), *writes(3))
    before = (machine.revision, machine.digest)
    assert apply_intents(machine, Origin("n2", 7, 0, 1), *writes(3)) == [AGAIN] * 3
    assert apply_intents(machine, Origin("n2", 7, 0, 2), *writes(1, 2)) == [AGAIN]
    assert (machine.revision, machine.digest, machine.mark("n2")) == (*before, (7, 3))
    assert apply_intents(machine, Origin("n2", 7, 0, 2), *writes(4, 2)) == [
        AGAIN,
        AGAIN,
        OpResult(APPLIED, 4, 4),
        OpResult(APPLIED, 5, 5),
    ]
    assert machine.mark("n2") == (7, 5)


@pytest.mark.parametrize("first", [5, 6, 2**63])
def test_a_gap_is_refused_whole_and_tells_the_mark(first: int) -> None:
    machine = Machine()
    apply_intents(machine, Origin("n2", 7, 0, 1), *writes(3))
    before = (machine.revision, machine.digest, machine.mark("n2"))
    assert apply_intents(machine, Origin("n2", 7, 0, first), *writes(2)) == [OpResult(GAP, 3, 0)] * 2
    assert (machine.revision, machine.digest, machine.mark("n2")) == before


def test_a_node_that_was_never_heard_begins_with_its_first() -> None:
    machine = Machine()
    assert apply_intents(machine, Origin("n2", 7, 0, 2), *writes(1)) == [OpResult(GAP, 0, 0)]
    assert apply_intents(machine, Origin("n2", 7, 6, 1), *writes(1)) == [FOREIGN]
    assert machine.mark("n2") == (0, 0)
    assert machine.intent_result("n2", 7, 1) is None


def test_another_epoch_follows_only_where_it_names_the_present_one() -> None:
    machine = Machine()
    apply_intents(machine, Origin("n2", 7, 0, 1), *writes(2))
    before = (machine.revision, machine.digest, machine.mark("n2"))
    for previous in (0, 6, 8):
        assert apply_intents(machine, Origin("n2", 8, previous, 1), *writes(2)) == [FOREIGN] * 2
    # The right name, but not from its beginning: nothing tells what came before.
    assert apply_intents(machine, Origin("n2", 8, 7, 2), *writes(1)) == [OpResult(GAP, 0, 0)]
    assert (machine.revision, machine.digest, machine.mark("n2")) == before
    assert statuses(apply_intents(machine, Origin("n2", 8, 7, 1), *writes(2, 3))) == [APPLIED, APPLIED]
    assert machine.mark("n2") == (8, 2)


def test_a_late_copy_of_an_older_epoch_is_never_applied_again() -> None:
    machine = Machine()
    apply_intents(machine, Origin("n2", 7, 0, 1), *writes(2))
    apply_intents(machine, Origin("n2", 8, 7, 1), *writes(1, 3))
    apply_intents(machine, Origin("n2", 9, 8, 1), *writes(1, 4))
    before = (machine.revision, machine.digest, machine.mark("n2"))
    for late in (Origin("n2", 7, 0, 1), Origin("n2", 7, 0, 3), Origin("n2", 8, 7, 1), Origin("n2", 8, 7, 2)):
        assert apply_intents(machine, late, *writes(2)) == [FOREIGN] * 2
    assert (machine.revision, machine.digest, machine.mark("n2")) == before


def test_later_batches_of_an_epoch_need_not_name_the_one_before() -> None:
    machine = Machine()
    apply_intents(machine, Origin("n2", 7, 0, 1), *writes(1))
    apply_intents(machine, Origin("n2", 8, 7, 1), *writes(1, 2))
    assert statuses(apply_intents(machine, Origin("n2", 8, 0, 2), *writes(1, 3))) == [APPLIED]


def test_nodes_do_not_share_their_numbers() -> None:
    machine = Machine()
    for node in ("n1", "n2", "n3"):
        assert statuses(apply_intents(machine, Origin(node, 7, 0, 1), *writes(1))) != [DUPLICATE]
    assert [machine.mark(node) for node in ("n1", "n2", "n3")] == [(7, 1)] * 3


def test_an_empty_batch_begins_its_epoch() -> None:
    machine = Machine()
    assert apply_intents(machine, Origin("n2", 7, 0, 1)) == []
    assert machine.mark("n2") == (7, 0)
    assert statuses(apply_intents(machine, Origin("n2", 8, 7, 1), *writes(1))) == [APPLIED]


def test_results_are_kept_for_each_intent() -> None:
    machine = Machine()
    apply(machine, put(b"new", b"x"), at=5_000)
    results = apply_intents(
        machine,
        Origin("n2", 7, 0, 1),
        intent_put(b"a", b"1", 4_990),
        intent_put(b"b", b"1", 4_991),
        intent_put(b"new", b"1", 4_992),
        intent_put(b"new", b"1", 4_993),
        intent_put(b"c", b"1", 4_994),
        at=5_001,
    )
    apply(machine, put(b"between", b"x"))
    results += apply_intents(machine, Origin("n2", 7, 0, 6), intent_put(b"d", b"1", 5_002), at=5_002)
    assert statuses(results) == [APPLIED, APPLIED, SUPERSEDED, SUPERSEDED, APPLIED, APPLIED]
    assert [each.revision for each in results] == [2, 3, 0, 0, 4, 6]
    for each in (machine, load(machine.snapshot())):
        for sequence, result in enumerate(results, 1):
            assert each.intent_result("n2", 7, sequence) == OpResult(result.status, result.revision, 0)
        for node, epoch, sequence in (("n2", 7, 7), ("n2", 7, 0), ("n2", 8, 1), ("n3", 7, 1)):
            assert each.intent_result(node, epoch, sequence) is None


def test_successive_results_of_one_kind_are_one_run() -> None:
    machine = Machine()
    for first in range(1, 301, 100):
        apply_intents(machine, Origin("n2", 7, 0, first), *writes(100, first))
    assert contents_of(machine.snapshot())["runs"] == [["n2", 7, 1, 300, APPLIED, 1]]
    assert machine.intent_result("n2", 7, 250) == OpResult(APPLIED, 250, 0)


@pytest.fixture
def few_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "_EPOCHS_KEPT", 8)


@pytest.mark.usefixtures("few_epochs")
def test_results_of_earlier_epochs_are_kept_for_a_while() -> None:
    machine = Machine()
    for epoch in range(1, 21):
        apply_intents(machine, Origin("n2", epoch, epoch - 1, 1), *writes(1, epoch))
    known = [machine.intent_result("n2", epoch, 1) for epoch in range(1, 21)]
    assert known == [None] * 12 + [OpResult(APPLIED, epoch, 0) for epoch in range(13, 21)]


def test_a_node_that_starts_a_hundred_times_before_it_can_hand_over_has_all_its_receipts() -> None:
    machine = Machine()
    for epoch in range(1, 101):
        apply_intents(machine, Origin("n2", epoch, epoch - 1, 1), *writes(3, 3 * epoch))
    for each in (machine, load(machine.snapshot())):
        known = [each.intent_result("n2", epoch, 2) for epoch in range(1, 101)]
        assert known == [OpResult(APPLIED, 3 * epoch - 1, 0) for epoch in range(1, 101)]


def test_runs_are_counted_over_all_epochs_also_on_a_restored_replica() -> None:
    machine = small_machine(receipt_runs_max=50)
    for epoch in range(1, 101):
        apply(machine, put(b"between", b"x"), at=10_000 * epoch)
        apply_intents(machine, Origin("n2", epoch, epoch - 1, 1), intent_put(b"k", b"1", 10_000 * epoch + 1))
    restored = load(machine.snapshot())
    for each in (machine, restored):
        for epoch in range(101, 201):
            apply(each, put(b"between", b"x"), at=10_000 * epoch)
            apply_intents(each, Origin("n2", epoch, epoch - 1, 1), intent_put(b"k", b"1", 10_000 * epoch + 1))
            assert len(contents_of(each.snapshot())["runs"]) <= 60
    assert list(machine.snapshot()) == list(restored.snapshot())


def test_the_oldest_runs_are_forgotten_and_marks_are_not() -> None:
    machine = small_machine(receipt_runs_max=10)
    for number in range(1, 101):
        apply(machine, put(b"between", b"x"), at=1_000 + number)
        apply_intents(machine, Origin("n2", 7, 0, number), *writes(1, number), at=1_000 + number)
        assert len(contents_of(machine.snapshot())["runs"]) <= 12
    assert machine.mark("n2") == (7, 100)
    assert [machine.intent_result("n2", 7, number) for number in range(1, 89)] == [None] * 88
    assert [machine.intent_result("n2", 7, number) for number in range(91, 101)] == [
        OpResult(APPLIED, 2 * number, 0) for number in range(91, 101)
    ]
    assert apply_intents(machine, Origin("n2", 7, 0, 50), *writes(1, 50)) == [AGAIN]


def test_the_node_that_was_silent_for_longest_is_forgotten() -> None:
    machine = small_machine(origins_max=2)
    apply_intents(machine, Origin("n1", 7, 0, 1), *writes(1))
    apply_intents(machine, Origin("n2", 7, 0, 1), *writes(1))
    # Even a batch that was applied before is a sign of life; one of another epoch is not.
    assert apply_intents(machine, Origin("n1", 7, 0, 1), *writes(1)) == [AGAIN]
    assert apply_intents(machine, Origin("n2", 9, 8, 1), *writes(1)) == [FOREIGN]
    apply_intents(machine, Origin("n3", 7, 0, 1), *writes(1))
    assert [machine.mark(node) for node in ("n1", "n2", "n3")] == [(7, 1), (0, 0), (7, 1)]
    assert machine.intent_result("n2", 7, 1) is None


def test_the_next_intents_of_a_forgotten_node_are_refused() -> None:
    machine = small_machine(origins_max=1)
    apply_intents(machine, Origin("n1", 7, 0, 1), *writes(1))
    apply_intents(machine, Origin("n1", 8, 7, 1), *writes(1, 2))
    apply_intents(machine, Origin("n2", 7, 0, 1), *writes(1, 3))
    before = (machine.revision, machine.digest)
    assert apply_intents(machine, Origin("n1", 8, 7, 2), *writes(1)) == [FOREIGN]
    assert apply_intents(machine, Origin("n1", 9, 8, 1), *writes(1)) == [FOREIGN]
    assert (machine.revision, machine.digest, machine.mark("n1")) == (*before, (0, 0))


@pytest.mark.usefixtures("few_epochs")
def test_an_epoch_without_results_pushes_out_none_on_a_restored_replica_or_here() -> None:
    machine = Machine()
    for epoch in range(1, 9):
        apply_intents(machine, Origin("n2", epoch, epoch - 1, 1), *writes(1, epoch))
    apply_intents(machine, Origin("n2", 9, 8, 1))
    restored = load(machine.snapshot())
    for each in (machine, restored):
        apply_intents(each, Origin("n2", 10, 9, 1), *writes(1, 10))
        apply_intents(each, Origin("n2", 11, 10, 1), *writes(1, 11))
    assert list(machine.snapshot()) == list(restored.snapshot())
    known = [machine.intent_result("n2", epoch, 1) for epoch in range(1, 12)]
    assert known == [restored.intent_result("n2", epoch, 1) for epoch in range(1, 12)]
    assert [each is None for each in known] == [True] * 2 + [False] * 6 + [True] + [False] * 2


@pytest.mark.usefixtures("few_epochs")
def test_an_epoch_that_comes_again_is_the_youngest_on_a_restored_replica_and_here() -> None:
    machine = Machine()
    for epoch, previous in ((1, 0), (2, 1), (1, 2)):
        apply_intents(machine, Origin("n2", epoch, previous, 1), *writes(1, epoch))
    restored = load(machine.snapshot())
    assert list(restored.snapshot()) == list(machine.snapshot())
    for each in (machine, restored):
        previous = 1
        for epoch in range(3, 10):
            apply_intents(each, Origin("n2", epoch, previous, 1), *writes(1, epoch))
            previous = epoch
        assert each.intent_result("n2", 2, 1) is None
        assert each.intent_result("n2", 1, 1) is not None
    assert list(restored.snapshot()) == list(machine.snapshot())


def test_the_oldest_epoch_tells_what_was_forgotten_from_what_never_was() -> None:
    machine = small_machine(receipt_runs_max=2)
    assert machine.oldest_epoch("n2") == 0
    for place, epoch in enumerate((7, 9, 12)):
        previous = (0, 7, 9)[place]
        apply_intents(machine, Origin("n2", epoch, previous, 1), *writes(1, 1 + place))
    assert machine.oldest_epoch("n2") == 9
    assert machine.last_intent("n2", 7) is None  # forgotten: below the oldest
    assert machine.last_intent("n2", 10) is None  # never applied: above it
    assert load(machine.snapshot()).oldest_epoch("n2") == 9
