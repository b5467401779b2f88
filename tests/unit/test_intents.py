"""The intent log: what it acknowledges is durable, what it refuses is nowhere, and it forgets only what was applied."""

import errno

import msgpack
import pytest

from kvstore import limits
from kvstore.consensus.journal import Journal, JournalFailed
from kvstore.errors import CorruptData, IdempotencyConflict, Overloaded, StorageFull
from kvstore.model.commands import OP_PUT, op_bytes
from kvstore.model.stamp import Stamp
from tests.support.crash_disk import KEPT, LOST, CrashDisk
from tests.support.intent_logs import DIRECTORY, SEGMENT_BYTES, HandClock, OpenLog, node_disk, what


def used_bytes(disk: CrashDisk) -> int:
    return (1 << 40) - disk.free_bytes("")


def fill(disk: CrashDisk) -> None:
    disk.capacity_bytes -= disk.free_bytes("")


# -- acknowledging


def test_nobody_is_told_before_the_fsync_and_one_fsync_serves_all_of_a_turn() -> None:
    disk = node_disk()
    opened = OpenLog(disk, segment_bytes=64_000)
    opened.add(b"first")
    opened.settle_all()
    syncs_before = disk.operations
    asked = [opened.ask(b"k%d" % number, b"v") for number in range(10)]
    assert disk.operations == syncs_before, "nothing was written yet"
    assert not any(future.done() for future in asked)
    assert (len(opened.log), opened.log.batch(), len(opened.log.overlay)) == (10, [], 0)
    opened.loop.turn()
    assert disk.operations - syncs_before == 2, "one write, one sync"
    assert [future.result().sequence for future in asked] == list(range(2, 12))
    assert opened.wakes == 2


@pytest.mark.parametrize("fate", [LOST, KEPT])
def test_a_restart_finds_all_that_was_acknowledged_in_its_order_with_its_stamps(fate) -> None:
    disk = node_disk()
    first = OpenLog(disk)
    acknowledged = [first.add(b"k%d" % (number % 3), b"%d" % number, b"once%d" % number) for number in range(8)]
    acknowledged.append(first.add(b"k0", None))
    first.ask(b"never synced", b"v")
    again = OpenLog(disk.after_crash(fate), incarnation=2)
    assert again.pending() == acknowledged
    assert again.log.overlay._keys[b"k0"][-1].value is None
    assert again.log.overlay._keys[b"k1"][-1].value == b"7"
    assert again.log.is_pending(*acknowledged[3][1:3])


def test_epochs_rise_with_every_start_even_of_a_directory_that_was_put_back() -> None:
    disk = node_disk()
    epochs = []
    for start in range(1, 6):
        opened = OpenLog(disk, incarnation=start)
        epochs.append(opened.add(b"k").epoch)
        opened.close()
    assert epochs == sorted(set(epochs))
    put_back = OpenLog(disk.copy(), incarnation=2, seed="another process")
    assert put_back.log.epoch > epochs[-1], "its number of starts is from before"
    empty = OpenLog(node_disk(), incarnation=1, applied_epoch=epochs[-1])
    assert empty.log.epoch > epochs[-1], "the cluster knows higher ones than this directory"


def test_two_copies_that_start_alike_take_different_epochs() -> None:
    disk = node_disk()
    OpenLog(disk).close()
    one, other = (OpenLog(disk.copy(), incarnation=2, seed=seed).log.epoch for seed in ("one", "other"))
    assert one != other
    assert one >> 32 == other >> 32


def test_the_clock_goes_on_above_the_last_stamp_although_the_wall_clock_went_back() -> None:
    disk = node_disk()
    last = OpenLog(disk, HandClock(5_000)).add(b"k")
    again = OpenLog(disk.after_crash(LOST), HandClock(10), incarnation=2)
    assert again.add(b"k").stamp > last.stamp


# -- refusing


def test_more_than_may_wait_is_refused_with_429_and_nothing_of_it_is_kept(monkeypatch) -> None:
    monkeypatch.setattr(limits, "INTENTS_PENDING_MAX", 3)
    disk = node_disk()
    opened = OpenLog(disk)
    asked = [opened.ask(b"k", b"v") for _ in range(3)]
    with pytest.raises(Overloaded) as refused:
        opened.ask(b"k", b"one too many")
    assert (refused.value.status, refused.value.outcome) == (429, "not_applied")
    assert refused.value.retry_after_s > 0
    opened.loop.turn()
    with pytest.raises(Overloaded):
        opened.ask(b"k", b"one too many")
    assert [future.result().sequence for future in asked] == [1, 2, 3]
    assert len(OpenLog(disk.after_crash(KEPT), incarnation=2).pending()) == 3
    opened.settle_all()
    assert opened.add(b"k").sequence == 4, "no number was used up"


def test_so_is_more_than_may_wait_in_bytes_and_settling_makes_room_again(monkeypatch) -> None:
    monkeypatch.setattr(limits, "INTENTS_PENDING_BYTES_MAX", 3_000)
    opened = OpenLog(node_disk())
    opened.add(b"k", bytes(2_000))
    opened.ask(b"k", bytes(100))
    with pytest.raises(Overloaded):
        opened.ask(b"k", bytes(1_000))
    opened.loop.turn()
    opened.settle_all()
    assert opened.log._bytes == 0
    assert opened.add(b"k", bytes(2_000)).sequence == 3


def test_a_disk_without_room_gives_507_and_nothing_is_kept() -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    opened.add(b"k")
    fill(disk)
    taken = 1
    while opened.journal.room(limits.INTENT_OVERHEAD_BYTES + 51):
        opened.add(b"k", bytes(50))
        taken += 1
    with pytest.raises(StorageFull) as refused:
        opened.add(b"k", bytes(50))
    assert (refused.value.status, refused.value.outcome) == (507, "not_applied")
    assert taken > 1
    assert len(OpenLog(disk.after_crash(KEPT), incarnation=2).pending()) == taken
    disk.capacity_bytes = 1 << 40
    assert opened.add(b"k").sequence == taken + 1


def test_if_the_room_that_was_promised_is_gone_at_the_fsync_all_who_wait_are_told_507(monkeypatch) -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    kept = opened.add(b"kept")
    monkeypatch.setattr(opened.journal, "room", lambda _size=0: True)
    fill(disk)
    asked = [opened.ask(b"k", bytes(SEGMENT_BYTES)) for _ in range(3)]
    opened.loop.turn()
    for future in asked:
        assert isinstance(future.exception(), StorageFull)
    assert opened.pending() == [kept]
    assert opened.failures == []
    disk.capacity_bytes = 1 << 40
    assert opened.add(b"k").sequence == 2, "their numbers are free again"
    assert [intent.sequence for intent in OpenLog(disk.after_crash(LOST), incarnation=2).pending()] == [1, 2]


def test_a_failed_fsync_acknowledges_nothing_and_stops_the_node() -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    asked = opened.ask(b"k", b"v")
    disk.failing["sync"] = errno.EIO
    opened.loop.turn()
    assert asked.cancelled()
    assert [type(failure) for failure in opened.failures] == [JournalFailed]
    with pytest.raises(JournalFailed):
        opened.ask(b"k", b"v")


# -- idempotency keys


def test_a_repetition_under_a_pending_key_gets_the_first_receipt_and_another_request_a_conflict() -> None:
    opened = OpenLog(node_disk())
    first = opened.add(b"k", b"v", b"once")
    assert opened.ask(b"k", b"v", b"once").result() is first
    for key, value in ((b"k", b"other"), (b"other", b"v"), (b"k", None), (b"k", b"")):
        with pytest.raises(IdempotencyConflict):
            opened.ask(key, value, b"once")
    assert opened.pending() == [first]
    assert opened.add(b"k", b"v", b"another").sequence == 2


def test_a_pending_key_is_known_again_after_a_restart_and_forgotten_once_it_was_applied() -> None:
    disk = node_disk()
    deleted = OpenLog(disk).add(b"k", None, b"once")
    again = OpenLog(disk.after_crash(LOST), incarnation=2)
    assert again.ask(b"k", None, b"once").result() == deleted
    again.settle_all()
    assert again.add(b"k", b"v", b"once").sequence == 1, "from now on the state machine knows the key"


# -- handing over


def test_a_batch_is_of_one_epoch_in_order_and_bounded(monkeypatch) -> None:
    disk = node_disk()
    first = OpenLog(disk)
    older = [first.add(b"%d" % number) for number in range(4)]
    first.close()
    opened = OpenLog(disk, incarnation=2)
    newer = [opened.add(b"%d" % number) for number in range(3)]
    assert opened.log.batch() == older
    monkeypatch.setattr(limits, "ENTRY_OPS_MAX", 3)
    assert opened.log.batch() == older[:3]
    opened.settle(older[1].epoch, older[1].sequence)
    assert opened.log.batch() == older[2:]
    opened.settle(older[3].epoch, older[3].sequence)
    assert opened.log.batch() == newer
    monkeypatch.setattr(limits, "INTENTS_BATCH_BYTES_MAX", 2 * op_bytes(newer[0].op))
    assert opened.log.batch() == newer[:2]
    monkeypatch.setattr(limits, "INTENTS_BATCH_BYTES_MAX", 1)
    assert opened.log.batch() == newer[:1], "never none, or it would never go on"


@pytest.mark.parametrize("covered", range(8))
def test_settling_prunes_exactly_what_is_covered_and_the_overlay_follows(covered) -> None:
    disk = node_disk()
    first = OpenLog(disk)
    for number in range(4):
        first.add(b"%d" % (number % 2), b"old %d" % number, b"once %d" % number)
    first.close()
    opened = OpenLog(disk, incarnation=2)
    for number in range(3):
        opened.add(b"%d" % (number % 2), b"new %d" % number)
    everything = opened.pending()
    if covered:
        opened.settle(*everything[covered - 1][1:3])
    else:
        opened.settle(everything[0].epoch, 0)
    left = everything[covered:]
    assert opened.pending() == left
    assert len(opened.log) == len(left)
    for place, intent in enumerate(everything):
        assert opened.log.is_pending(intent.epoch, intent.sequence) == (place >= covered)
    newest = {what(intent.op)[0]: intent for intent in left}
    shown = {key: of_key[-1].position for key, of_key in opened.log.overlay._keys.items()}
    assert shown == {key: intent.position for key, intent in newest.items()}
    kept = sorted(pending.position for of_key in opened.log.overlay._keys.values() for pending in of_key)
    assert kept == [intent.position for intent in left]
    assert set(opened.log._by_once) == {intent.once for intent in left if intent.once is not None}
    assert opened.log.drained_position == (everything[covered - 1].position if covered else 1)
    # Told once more, as every applied entry does, it changes nothing; nor does an older word.
    if covered:
        opened.settle(*everything[covered - 1][1:3])
    opened.settle(everything[0].epoch, 0)
    assert opened.pending() == left


def test_what_was_settled_is_not_pending_after_a_clean_restart() -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    intents = [opened.add(b"k%d" % number) for number in range(6)]
    opened.settle(intents[3].epoch, intents[3].sequence)
    opened.close()
    assert OpenLog(disk, incarnation=2).pending() == intents[4:]


def test_the_last_position_is_that_of_an_intent_which_a_drain_waits_for(monkeypatch) -> None:
    """A record of the clock is no write: nobody could wait until it is applied."""
    monkeypatch.setattr(limits, "INTENT_SEGMENT_BYTES", 500)
    opened = OpenLog(node_disk())
    intents = [opened.add(b"k", bytes(250)) for _ in range(3)]
    opened.settle(intents[1].epoch, intents[1].sequence)
    assert opened.journal.entries[-1][1] > intents[2].position, "the clock was noted behind it"
    waited_for = opened.log.last_position
    opened.settle_all()
    assert opened.log.drained_position >= waited_for


# -- compaction


def test_files_and_memory_stay_bounded_however_much_passes_through(monkeypatch) -> None:
    monkeypatch.setattr(limits, "INTENT_SEGMENT_BYTES", 8_000)
    disk = node_disk()
    opened = OpenLog(disk, segment_bytes=32_000)
    most_bytes = most_entries = 0
    for number in range(3_000):
        opened.add(b"k%d" % (number % 7), bytes(100))
        if number % 3 == 2:
            opened.settle_all()
        most_bytes = max(most_bytes, used_bytes(disk))
        most_entries = max(most_entries, len(opened.journal.entries))
    assert most_bytes <= 5 * 32_000, "of 600,000 that were written"
    assert most_entries < 600, "of 3,000"
    assert len(disk.list(DIRECTORY)) <= 5
    assert (opened.log._bytes, len(opened.log), opened.log._by_once, opened.log._spans) == (0, 0, {}, {})


def test_the_clock_survives_the_compaction_of_all_records_that_held_it(monkeypatch) -> None:
    monkeypatch.setattr(limits, "INTENT_SEGMENT_BYTES", 4_000)
    disk = node_disk()
    opened = OpenLog(disk, HandClock(70_000))
    last = opened.add(b"k")
    opened.wall.wall = 3  # from now on only the counter goes on
    for _ in range(300):
        last = opened.add(b"k", bytes(100))
        opened.settle_all()
    assert opened.journal.entries[0][1] > 1, "something was dropped"
    for fate in (LOST, KEPT):
        again = OpenLog(disk.after_crash(fate), HandClock(1), incarnation=2)
        assert again.clock.highest()[:2] >= last.stamp[:2]
        assert again.add(b"k").stamp > last.stamp


def test_a_failed_write_while_compacting_stops_the_node(monkeypatch) -> None:
    monkeypatch.setattr(limits, "INTENT_SEGMENT_BYTES", 100)
    disk = node_disk()
    opened = OpenLog(disk)
    opened.add(b"k", bytes(200))
    disk.failing["sync"] = errno.EIO
    opened.settle_all()
    assert [type(failure) for failure in opened.failures] == [JournalFailed]


def test_without_room_for_the_clock_nothing_is_compacted_and_nothing_fails(monkeypatch) -> None:
    monkeypatch.setattr(limits, "INTENT_SEGMENT_BYTES", 100)
    disk = node_disk()
    opened = OpenLog(disk)
    opened.add(b"k", bytes(200))
    monkeypatch.setattr(opened.journal, "room", lambda _size=0: False)
    opened.settle_all()
    assert opened.journal.entries[0][1] == 1
    assert opened.failures == []
    monkeypatch.undo()
    assert opened.add(b"k").sequence == 2


def test_that_a_member_has_retired_outlives_restarts_and_compaction_until_it_goes_back_to_work(monkeypatch) -> None:
    monkeypatch.setattr(limits, "INTENT_SEGMENT_BYTES", 1_000)
    disk = node_disk()
    opened = OpenLog(disk)
    assert not opened.log.retired
    waiting = opened.ask(b"k", b"v")
    opened.log.retire(True)
    assert waiting.done(), "what came before is acknowledged"
    for _ in range(100):
        opened.add(b"k", bytes(100))
        opened.settle_all()
    assert opened.journal.entries[0][1] > 10, "the first record of it is gone"
    again_disk = disk.after_crash(LOST)
    again = OpenLog(again_disk, incarnation=2)
    assert again.log.retired
    again.log.retire(False)
    assert not OpenLog(again_disk.after_crash(LOST), incarnation=3).log.retired


def test_a_member_that_cannot_write_down_that_it_retires_says_so_and_takes_nothing_until_it_ends() -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    fill(disk)
    while opened.journal.fits(limits.INTENT_OVERHEAD_BYTES, kept=True):
        opened.journal.append(bytes(200), opened.journal.entries[-1][1] + 1, 1)
        opened.journal.sync(reserve=True)

    def retire_until_full() -> None:
        for _ in range(1_000):
            opened.log.retire(not opened.log.retired)

    with pytest.raises(StorageFull):
        retire_until_full()
    assert opened.failures == []
    disk.capacity_bytes = 1 << 40
    assert opened.add(b"k").sequence == 1


# -- a copy of the directory


def copied() -> tuple[OpenLog, list, list, int]:
    """A copy that was started, with writes from before the start and from after it, and what it does not know: the
    epoch of the process that the original became.
    """
    disk = node_disk()
    first = OpenLog(disk)
    before = [first.add(b"before %d" % number) for number in range(2)]
    first.close()
    copy = OpenLog(disk.copy(), incarnation=2, seed="copy")
    after = [copy.add(b"after %d" % number, b"v", b"once %d" % number) for number in range(3)]
    foreign = copy.log.epoch + (5 << 32)
    return copy, before, after, foreign


def test_a_copy_moves_what_it_acknowledged_itself_above_the_epoch_of_the_other_process() -> None:
    copy, before, after, foreign = copied()
    asked = copy.ask(b"unsynced", b"v")
    copy.settle(foreign, 3)
    after.append(asked.result())
    moved = copy.pending()
    assert copy.log.epoch > foreign
    assert [what(intent.op) for intent in moved] == [what(intent.op) for intent in after]
    assert [(intent.epoch, intent.sequence) for intent in moved] == [(copy.log.epoch, n) for n in (1, 2, 3, 4)]
    assert [intent.stamp[:2] for intent in moved] == [intent.stamp[:2] for intent in after]
    for old, new in zip(after, moved, strict=True):
        assert copy.log.present_name(old.epoch, old.sequence) == (new.epoch, new.sequence)
        assert not copy.log.is_pending(old.epoch, old.sequence)
        assert copy.log.is_pending(new.epoch, new.sequence)
    assert not copy.log.is_pending(before[0].epoch, before[0].sequence)
    assert copy.ask(b"after 1", b"v", b"once 1").result() == moved[1]
    assert len(copy.log.overlay) == 4
    assert copy.add(b"next").sequence == 5


def test_what_was_moved_is_durable_and_moved_once() -> None:
    disk = node_disk()
    copy = OpenLog(disk)
    acknowledged = [copy.add(b"%d" % number) for number in range(3)]
    copy.settle(copy.log.epoch + (1 << 40), 0)
    moved = copy.pending()
    again = OpenLog(disk.after_crash(LOST), incarnation=2)
    again.settle(acknowledged[0].epoch + (1 << 40), 0)
    assert again.pending() == moved
    assert again.log.epoch > moved[0].epoch


def test_a_receipt_is_found_although_its_write_was_moved_more_than_once() -> None:
    copy, _, after, foreign = copied()
    copy.settle(foreign, 1)
    copy.settle(copy.log.epoch + (5 << 32), 1)
    moved = copy.pending()
    assert len(moved) == 3
    for old, new in zip(after, moved, strict=True):
        assert copy.log.present_name(old.epoch, old.sequence) == (new.epoch, new.sequence)


def test_the_same_epoch_or_a_lower_one_in_the_state_moves_nothing() -> None:
    copy, _, after, _ = copied()
    epoch = copy.log.epoch
    copy.settle(epoch, 1)
    copy.settle(epoch, 1)
    assert copy.log.epoch == epoch
    assert copy.pending() == after[1:]


def test_what_was_applied_under_its_old_name_is_not_moved() -> None:
    copy, _, after, foreign = copied()
    copy.machine.applied.add((after[0].epoch, after[0].sequence))
    copy.settle(foreign, 3)
    assert [what(intent.op) for intent in copy.pending()] == [what(intent.op) for intent in after[1:]]


def test_a_node_that_the_cluster_has_forgotten_begins_anew_with_what_is_pending() -> None:
    opened = OpenLog(node_disk())
    acknowledged = [opened.add(b"%d" % number) for number in range(4)]
    opened.settle(acknowledged[0].epoch, 2)
    opened.machine.at = 0, 0
    opened.log.forgotten()
    moved = opened.pending()
    assert [what(intent.op) for intent in moved] == [what(intent.op) for intent in acknowledged[2:]]
    assert [intent.sequence for intent in moved] == [1, 2]
    assert moved[0].epoch > acknowledged[0].epoch


def test_a_restart_finds_pending_what_it_might_not_find_applied() -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    acknowledged = [opened.add(b"%d" % number) for number in range(4)]
    opened.settle(acknowledged[0].epoch, 3, durable=False)
    assert opened.pending() == acknowledged[3:]
    acknowledged.append(opened.add(b"later"))
    again = OpenLog(disk.after_crash(LOST), incarnation=2)
    assert again.pending() == acknowledged


def test_a_repetition_of_what_the_state_remembers_is_not_shown() -> None:
    opened = OpenLog(node_disk())
    opened.machine.keys.add(b"once")
    opened.add(b"k", b"again", b"once")
    assert opened.log.overlay.over(opened.machine, b"k") is None
    assert len(opened.pending()) == 1


def test_keyed_writes_are_refused_while_too_many_keys_are_remembered() -> None:
    opened = OpenLog(node_disk())
    opened.machine.intent_keys_full = True
    with pytest.raises(Overloaded, match="idempotency keys"):
        opened.ask(b"k", b"v", b"once")
    assert opened.add(b"k").sequence == 1


# -- what cannot be read


def record(disk: CrashDisk, *contents: object) -> CrashDisk:
    journal = Journal.open(disk, DIRECTORY, segment_bytes=SEGMENT_BYTES)
    for content in contents:
        data = content if isinstance(content, bytes) else msgpack.packb(content)
        journal.append(data, journal.entries[-1][1] + 1, 1)
    journal.sync()
    journal.close()
    return disk


@pytest.mark.parametrize(
    "content",
    [
        b"\xc1",
        b"",
        7,
        [],
        [1, 2, 3, 4],
        [1, 1, []],
        [1, 1, None],
        [1, 1, [OP_PUT, b"k"]],
        [1, 1, [OP_PUT, b"k", b"v", 5, 0]],
        [1, 1, [OP_PUT, b"k", b"v", "soon", 0, None]],
        [1, 1, [9, b"k", 5, 0, None]],
        [1, "one", [OP_PUT, b"k", b"v", 5, 0, None]],
        [0, 1, [OP_PUT, b"k", b"v", 5, 0, None]],
        ["soon", 0],
        ["retired"],
        [-1, 0],
    ],
)
def test_a_record_that_this_build_does_not_know_stops_the_start_with_exit_code_7(content) -> None:
    disk = record(node_disk(), [1 << 32, 1, [OP_PUT, b"k", b"v", 5, 0, None]], content)
    with pytest.raises(CorruptData) as refused:
        OpenLog(disk, incarnation=2)
    assert refused.value.exit_code == 7
    assert "intents" in refused.value.path
    assert "3" in refused.value.path
    assert refused.value.advice


def test_the_records_of_this_build_are_read_back() -> None:
    disk = record(
        node_disk(),
        [1 << 32, 1, [OP_PUT, b"k", b"v", 5, 0, None]],
        [900, 4, 1, 0],
        [1 << 32, 2, [1, b"k", 6, 1, b"once"]],
    )
    opened = OpenLog(disk, incarnation=2)
    assert [intent.stamp for intent in opened.pending()] == [Stamp(5, 0, "n1", 1), Stamp(6, 1, "n1", 2)]
    assert opened.clock.highest()[:2] == (900, 4)
    assert opened.log.retired


@pytest.mark.parametrize("end", ["crash", "close"])
def test_a_member_that_has_retired_is_retired_after_a_restart(end: str) -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    opened.add(b"k")
    opened.log.retire(True)
    if end == "close":
        opened.close()
    again = OpenLog(disk.after_crash(LOST), incarnation=2)
    assert again.log.retired
    assert len(again.pending()) == 1
    again.log.retire(False)
    assert not OpenLog(again.disk.after_crash(LOST), incarnation=3).log.retired


def test_a_bit_flipped_in_an_acknowledged_record_stops_the_start() -> None:
    disk = node_disk()
    opened = OpenLog(disk)
    for number in range(5):
        opened.add(b"key %d" % number, b"a value that is there once")
    opened.close()
    (name,) = [name for name in disk.list(DIRECTORY) if b"key 2" in disk.read(f"{DIRECTORY}/{name}")]
    path = f"{DIRECTORY}/{name}"
    disk.flip(path, disk.read(path).index(b"key 2"))
    with pytest.raises(CorruptData) as refused:
        OpenLog(disk, incarnation=2)
    assert refused.value.exit_code == 7
    assert refused.value.path == path
