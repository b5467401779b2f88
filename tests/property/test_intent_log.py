"""The intent log against a plain list, whatever happens to the disk and to the process.

The model is the list of all records in the order in which they were lined up, each acknowledged or not, and how many of
them were dropped because the state covered them. A restart may bring back what was dropped (that is noted lazily, and
the state machine knows it), and what was written and never acknowledged; never anything else, and never less.
"""

import contextlib
import errno
from typing import Any, NamedTuple
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from kvstore import limits
from kvstore.consensus.journal import JournalFailed
from kvstore.errors import IdempotencyConflict, Overloaded, StorageFull
from kvstore.node.intents import Intent
from kvstore.testing.process import silence_logs
from tests.support.crash_disk import KEPT, LOST, Fate, PowerLoss
from tests.support.intent_logs import HandClock, OpenLog, node_disk, what

UNLIMITED = 1 << 40


class Known(NamedTuple):
    """A write that was lined up: its name, what it does, its stamp."""

    epoch: int
    sequence: int
    key: bytes
    value: bytes | None
    stamp: tuple[int, int]
    once: bytes | None

    @classmethod
    def of(cls, intent: Intent) -> "Known":
        return cls(intent.epoch, intent.sequence, *what(intent.op), intent.stamp[:2], intent.once)


KEYS = st.sampled_from([b"a", b"b", b"c"])
VALUES = st.none() | st.sampled_from([b"", b"1", b"x" * 120, b"y" * 700])
ONCE = st.none() | st.none() | st.sampled_from([b"i", b"j"])
FATES = st.sampled_from([LOST, KEPT, None, None])


class IntentLogOnABadDisk(RuleBasedStateMachine):
    """`written[dropped:synced]` is what has to be pending; behind `synced` lies what waits for an fsync."""

    steps = 0

    @initialize(
        segment_bytes=st.sampled_from([8192 + 300, 8192 + 900, 20_000]), compact=st.sampled_from([0, 300, 2_000])
    )
    def begin(self, segment_bytes: int, compact: int) -> None:
        silence_logs()
        self.patches = [
            mock.patch.object(limits, "INTENT_SEGMENT_BYTES", compact),
            mock.patch.object(limits, "INTENTS_PENDING_MAX", 25),
            mock.patch.object(limits, "INTENTS_PENDING_BYTES_MAX", 6_000),
            mock.patch.object(limits, "ENTRY_OPS_MAX", 4),
        ]
        for patch in self.patches:
            patch.start()
        self.segment_bytes = segment_bytes
        self.disk = node_disk()
        self.wall = HandClock(1_000)
        self.starts = 0
        self.written: list[Known] = []
        self.waiting: list[Any] = []
        self.dropped = self.synced = 0
        self.marks = [(0, 0)]
        self.highest = (0, 0)
        self._open()

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()

    # -- what happens to it while it lives

    @rule(key=KEYS, value=VALUES, once=ONCE)
    def add(self, key: bytes, value: bytes | None, once: bytes | None) -> None:
        pending = self.written[self.dropped : self.synced]
        known = [each for each in pending if once is not None and each.once == once]
        count = len(self.log)
        try:
            future = self.opened.ask(key, value, once)
        except IdempotencyConflict:
            assert known
            assert (known[-1].key, known[-1].value) != (key, value)
        except Overloaded:
            assert count >= 25 or self._size() > 4_000
        except StorageFull:
            assert self.disk.capacity_bytes < UNLIMITED
        else:
            if future.done():
                assert Known.of(future.result()) == known[-1]
                assert (known[-1].key, known[-1].value) == (key, value)
                return
            assert not known
            self._lined_up(key, value, once)
            self.waiting.append(future)
            return
        assert len(self.log) == count, "what is refused is nowhere"

    @rule()
    def sync(self) -> None:
        wakes = self.opened.wakes
        self.opened.loop.turn()
        waiting, self.waiting = self.waiting, []
        if waiting and waiting[0].exception() is not None:
            assert self.disk.capacity_bytes < UNLIMITED
            assert all(isinstance(future.exception(), StorageFull) for future in waiting)
            del self.written[self.synced :]
            return
        self._acknowledged(waiting)
        assert (self.opened.wakes > wakes) == bool(waiting)

    @precondition(lambda self: self.dropped < self.synced)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        covered = data.draw(st.integers(self.dropped, self.synced - 1))
        self._settle(self.written[covered].epoch, self.written[covered].sequence)

    @rule()
    def settle_again(self) -> None:
        """As each applied entry does, whether it was this node's or not."""
        self._settle(*self.marks[-1])

    @rule(ms=st.integers(-500, 900))
    def wall_clock(self, ms: int) -> None:
        self.wall.wall = max(0, self.wall.wall + ms)

    @rule(ahead=st.integers(0, 2_000))
    def applied_a_stamp(self, ahead: int) -> None:
        self.opened.clock.resume(self.wall.wall + ahead, 0)

    @rule(full=st.booleans())
    def fill_or_empty_the_disk(self, full: bool) -> None:
        if not full:
            self.disk.capacity_bytes = UNLIMITED
        elif self.disk.capacity_bytes == UNLIMITED:
            self.disk.capacity_bytes -= self.disk.free_bytes("")

    @precondition(lambda self: self.disk.capacity_bytes == UNLIMITED)
    @rule(ahead=st.integers(1, 1 << 34), mark=st.integers(0, 3))
    def another_process_was_this_node(self, ahead: int, mark: int) -> None:
        """What this process acknowledged gets new names, in its order; what is older is another's by now."""
        self._settle(self.log.epoch + ahead, mark)

    # -- ends and starts

    @rule(data=st.data(), fate=FATES, act=st.sampled_from(["nothing", "sync", "sync", "settle", "move"]))
    def lose_power(self, data: st.DataObject, fate: Fate | None, act: str) -> None:
        """At any operation on the disk; what was not synced may be lost, kept, torn or reordered."""
        self.disk.crash_at = self.disk.operations + data.draw(st.integers(1, 8))
        moved: list[Known] = []
        try:
            if act == "sync":
                self.opened.loop.turn()
            elif act == "settle" and self.dropped < self.synced:
                # What drops much compacts much.
                last = self.written[self.synced - 1]
                self.marks.append((last.epoch, last.sequence))
                self.opened.settle(last.epoch, last.sequence)
            elif act == "move" and self.disk.capacity_bytes == UNLIMITED:
                foreign = self.log.epoch + data.draw(st.integers(1, 1 << 34))
                moved = self._moved(foreign)
                self.marks.append((foreign, 1))
                self.opened.settle(foreign, 1)
        except PowerLoss:
            pass
        self.dropped = self._covered(self.dropped)
        self.written += moved
        acknowledged = [future for future in self.waiting if future.done() and future.exception() is None]
        self._acknowledged(acknowledged)
        self._restart(self.disk.after_crash(fate or data.draw(st.randoms()).randrange), data)

    @rule(data=st.data())
    def lose_power_while_starting(self, data: st.DataObject) -> None:
        disk = self.disk.after_crash(data.draw(st.randoms()).randrange)
        disk.capacity_bytes = UNLIMITED
        disk.crash_at = disk.operations + data.draw(st.integers(1, 12))
        with contextlib.suppress(PowerLoss):
            OpenLog(disk, self.wall, incarnation=self.starts + 1, segment_bytes=self.segment_bytes)
        self._restart(disk.after_crash(data.draw(st.randoms()).randrange), data)

    @rule(data=st.data())
    def be_killed(self, data: st.DataObject) -> None:
        self._restart(self.disk.after_crash(KEPT), data)

    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """In good order; what is not acknowledged by then is nobody's."""
        self.opened.close()
        self._restart(self.disk, data)

    @rule(data=st.data(), operation=st.sampled_from(["sync", "pwrite"]))
    def fail(self, data: st.DataObject, operation: str) -> None:
        """An operation on the disk fails: nothing is acknowledged any more, the node stops and is started again."""
        try:
            future = self.opened.ask(b"a", b"1")
        except (Overloaded, StorageFull):
            return
        self._lined_up(b"a", b"1", None)
        self.waiting.append(future)
        self.disk.failing[operation] = errno.EIO
        self.opened.loop.turn()
        self.disk.failing.clear()
        if not self.opened.failures:
            assert all(isinstance(each.exception(), StorageFull) for each in self.waiting)
        else:
            assert isinstance(self.opened.failures[0], JournalFailed)
            assert all(each.cancelled() for each in self.waiting)
        self._restart(self.disk.after_crash(data.draw(st.randoms()).randrange), data)

    # -- what must be true after each of them

    @invariant()
    def agree(self) -> None:
        type(self).steps += 1
        if not hasattr(self, "opened"):
            return
        log, pending = self.log, self.written[self.dropped : self.synced]
        assert [Known.of(intent) for intent in self.opened.pending()] == pending
        assert len(log) == len(self.written) - self.dropped
        positions = [intent.position for intent in self.opened.pending()]
        assert positions == sorted(set(positions))
        batch = log.batch()
        assert [Known.of(intent) for intent in batch] == pending[: len(batch)]
        assert bool(batch) == bool(pending)
        for place, each in enumerate(self.written[: self.synced][-30:], max(self.synced - 30, 0)):
            assert log.is_pending(each.epoch, each.sequence) == (place >= self.dropped)
        newest = {each.key: each for each in pending}
        assert {key: (of_key[-1].value, of_key[-1].stamp[:2]) for key, of_key in log.overlay._keys.items()} == {
            key: (each.value, each.stamp) for key, each in newest.items()
        }
        assert sum(map(len, log.overlay._keys.values())) == len(pending)
        assert self.opened.clock.highest()[:2] >= self.highest
        assert log.last_position <= log.drained_position or pending
        assert not self.opened.failures

    # -- the parts

    @property
    def log(self) -> Any:
        return self.opened.log

    def _size(self) -> int:
        return sum(len(each.key) + len(each.value or b"") + 64 for each in self.written[self.dropped :])

    def _lined_up(self, key: bytes, value: bytes | None, once: bytes | None) -> None:
        here = [each for each in self.written if each.epoch == self.log.epoch]
        stamp = self.opened.clock.highest()[:2]
        assert stamp > self.highest
        assert stamp > max((each.stamp for each in self.written), default=(0, 0))
        self.written.append(Known(self.log.epoch, (here[-1].sequence if here else 0) + 1, key, value, stamp, once))

    def _acknowledged(self, waiting: list[Any]) -> None:
        told = [Known.of(future.result()) for future in waiting]
        assert told == self.written[self.synced : self.synced + len(told)]
        self.synced += len(told)
        self.highest = max([self.highest, *(each.stamp for each in told)])

    def _covered(self, start: int) -> int:
        """How far the newest mark covers what is written, from `start` on."""
        epoch, mark = self.marks[-1]
        while start < len(self.written):
            each = self.written[start]
            if not (each.epoch < epoch or (each.epoch == epoch and each.sequence <= mark)):
                break
            start += 1
        return start

    def _moved(self, foreign: int) -> list[Known]:
        """What becomes of this process's own writes when a higher epoch shows up; their names are not known yet."""
        if foreign <= self.log.epoch:
            return []
        own = [each for each in self.written[self.dropped :] if each.epoch == self.log.epoch]
        return [each._replace(epoch=0, sequence=place) for place, each in enumerate(own, 1)]

    def _settle(self, epoch: int, mark: int) -> None:
        before, moved = self.log.epoch, self._moved(epoch)
        self.marks.append((epoch, mark))
        self.opened.settle(epoch, mark)
        if epoch > before:
            # Whoever waited is answered first.
            self._acknowledged(self.waiting)
            self.waiting = []
            self.opened.loop.turn()
            assert self.log.epoch > epoch
            self.written += [each._replace(epoch=self.log.epoch) for each in moved]
            self.synced = len(self.written)
        self.dropped = self._covered(self.dropped)

    def _open(self) -> None:
        self.starts += 1
        self.opened = OpenLog(
            self.disk,
            self.wall,
            incarnation=self.starts,
            applied_epoch=self.recovered[0] if self.starts > 1 else 0,
            segment_bytes=self.segment_bytes,
        )

    def _restart(self, disk: Any, data: st.DataObject) -> None:
        """Start again; the state that is recovered may be older than the one that there was, and catches up later."""
        self.disk = disk
        self.disk.capacity_bytes = UNLIMITED
        self.recovered = self.marks[data.draw(st.integers(max(len(self.marks) - 4, 0), len(self.marks) - 1))]
        self.waiting = []
        self._open()
        found = [Known.of(intent) for intent in self.opened.pending()]
        self._check_found(found)
        assert self.log.epoch > max([self.recovered[0], *(each.epoch for each in found)])
        self.opened.settle(*self.recovered)
        assert [Known.of(each) for each in self.opened.pending()] == [
            each for each in found if each[:2] > self.recovered
        ]
        # The rest of the log comes back: now it is known again how far everything had come.
        self.opened.settle(*self.marks[-1])
        self.dropped = self._covered(self.dropped)

    def _check_found(self, found: list[Known]) -> None:
        """All that was acknowledged and not dropped; before it maybe what was dropped, behind it what was written."""
        whole = self.written
        if any(each.epoch == 0 for each in whole):
            # Power was lost while these were moved: only the disk knows the name that they got.
            names = {each.epoch for each in found} - {each.epoch for each in whole}
            assert len(names) <= 1
            name = names.pop() if names else 0
            whole = self.written = [each._replace(epoch=name) if each.epoch == 0 else each for each in whole]
        if found:
            ends = whole.index(found[-1]) + 1
            first = ends - len(found)
            assert first >= 0
            assert found == whole[first:ends], "in order, each once, with its stamp, and nothing else"
            assert first <= self.dropped, "nothing is missing in front"
        else:
            ends = min(self.synced, self.dropped)
        assert ends >= self.synced, "everything that was acknowledged is there"
        del whole[ends:]
        self.synced, self.dropped = ends, min(self.dropped, ends)
        self.highest = max([self.highest, *(each.stamp for each in found)])


IntentLogOnABadDisk.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestIntentLogOnABadDisk = IntentLogOnABadDisk.TestCase


@pytest.mark.long
def test_fifty_thousand_steps() -> None:
    before = IntentLogOnABadDisk.steps
    run_state_machine_as_test(
        IntentLogOnABadDisk,
        settings=settings(max_examples=750, stateful_step_count=100, deadline=None, database=None),
    )
    assert IntentLogOnABadDisk.steps - before >= 50_000
