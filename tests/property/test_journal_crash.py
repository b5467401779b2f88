"""Whatever happens to the disk, a journal gives back what its last sync promised, and nothing that never was."""

import errno
import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.journal import Journal, JournalFailed
from kvstore.errors import StorageFull
from tests.support.crash_disk import KEPT, LOST, CrashDisk, Fate, PowerLoss
from tests.support.journal_model import DIRECTORY, Promise, node_disk

SEGMENT_BYTES = 8192 + 900
SEEDS = range(5)


def members(*names: str, index: int = 0) -> Configuration:
    return Configuration(index, tuple(Member(name, f"{name}:1", f"http://{name}", True, "") for name in sorted(names)))


def workload(promise: Promise) -> None:
    """Every kind of change, over several segments, with a compaction and two resets."""
    promise.set_term(1, "n1")
    promise.set_configuration(members("n1", "n2"))
    promise.sync()
    for round_ in range(12):
        for size in (0, 40, 150):
            promise.append(b"\0" + bytes([round_]) * size)
        promise.set_commit(promise.log.last - 2)
        promise.sync(force_commit=round_ % 2 == 0)
    promise.set_term(2, None)
    promise.truncate(promise.log.last - 1)
    promise.append(b"\0second term")
    promise.sync()
    promise.compact(20, keep_bytes=100)
    promise.append(b"\0" + b"large" * 400)
    promise.append(b"\0unsynced")
    promise.truncate(promise.log.last)
    promise.set_term(3, "n2")
    promise.sync()
    promise.set_commit(promise.log.last)
    promise.compact(promise.log.last, keep_bytes=0)
    promise.append(b"\0lost by the reset")
    promise.reset(100, 3, members("n1", "n2", "n3", index=90))
    for _ in range(8):
        promise.append(b"\0" + b"x" * 150)
        promise.sync()
    promise.set_term(7, "n3")
    promise.reset(200, 6, members("n1"))
    promise.append(b"\0after")
    promise.sync(force_commit=True)


def run_until_crash(crash_at: int | None) -> tuple[CrashDisk, Promise | None]:
    disk = node_disk()
    disk.crash_at = crash_at
    promise = None
    try:
        promise = Promise(disk, SEGMENT_BYTES)
        workload(promise)
    except PowerLoss:
        pass
    return disk, promise


def fates() -> list[Fate]:
    return [LOST, KEPT, *(random.Random(seed).randrange for seed in SEEDS)]


OPERATIONS = run_until_crash(None)[0].operations


@pytest.mark.parametrize("crash_at", range(1, OPERATIONS + 2))
def test_power_lost_before_any_one_disk_operation_loses_nothing_that_was_promised(crash_at: int) -> None:
    disk, promise = run_until_crash(crash_at)
    if promise is None:
        for fate in fates():
            found = disk.after_crash(fate)
            assert Journal.open(found, DIRECTORY, segment_bytes=SEGMENT_BYTES).entries == [(b"\x01", 1, 0)]
        return
    kept = promise.remember()
    for fate in fates():
        promise.recall(kept)
        found = disk.after_crash(fate)
        promise.reopen(found)
        promise.append(b"\0goes on")
        promise.sync()
        promise.reopen(found.after_crash(LOST))


@pytest.mark.parametrize("crash_at", range(1, OPERATIONS + 2))
def test_what_is_found_after_a_killed_process_survives_the_loss_of_power_that_follows(crash_at: int) -> None:
    disk, promise = run_until_crash(crash_at)
    disk.crash_at = None
    if promise is None:
        promise = Promise(disk, SEGMENT_BYTES)
    promise.reopen(disk)
    promise.reopen(disk.after_crash(LOST))


@pytest.mark.parametrize("crash_at", range(2, OPERATIONS + 2, 5))
def test_power_lost_again_during_recovery_loses_nothing_either(crash_at: int) -> None:
    disk, promise = run_until_crash(crash_at)
    if promise is None:
        return
    kept = promise.remember()
    for seed in SEEDS:
        fate = random.Random(seed).randrange
        once = disk.after_crash(fate)
        for again_at in range(1, 40):
            twice = once.copy()
            twice.crash_at = again_at
            promise.recall(kept)
            try:
                promise.reopen(twice)
                break
            except PowerLoss:
                promise.reopen(twice.after_crash(fate))
        else:
            pytest.fail("recovery never ended")


class JournalOnABadDisk(RuleBasedStateMachine):
    """Random calls; at any disk operation the power may go, the disk may fill up, an fsync may fail."""

    @initialize(segment_bytes=st.sampled_from([8192, 8192 + 300, 8192 + 900, 20_000]))
    def begin(self, segment_bytes: int) -> None:
        self.disk = node_disk()
        self.promise = Promise(self.disk, segment_bytes)

    @rule(sizes=st.lists(st.integers(0, 700), min_size=1, max_size=6))
    def append(self, sizes: list[int]) -> None:
        for size in sizes:
            self.promise.append(b"\0" + random.Random(size).randbytes(size))

    @precondition(lambda self: self.promise.log.last > self.promise.commits[-1])
    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        self.promise.truncate(data.draw(st.integers(self.promise.commits[-1] + 1, self.promise.log.last)))

    @rule(voted_for=st.sampled_from([None, "n1", "n2"]), more=st.integers(1, 3))
    def next_term(self, voted_for: str | None, more: int) -> None:
        self.promise.set_term(self.promise.votes[-1][0] + more, voted_for)

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        self.promise.set_commit(data.draw(st.integers(1, self.promise.log.last)))

    @rule(names=st.lists(st.sampled_from(["n1", "n2", "n3"]), unique=True))
    def configure(self, names: list[str]) -> None:
        self.promise.set_configuration(members(*names, index=self.promise.log.last))

    @rule(force_commit=st.booleans(), reserve=st.booleans())
    def sync(self, force_commit: bool, reserve: bool) -> None:
        try:
            self.promise.sync(force_commit=force_commit, reserve=reserve)
        except StorageFull:
            assert self.disk.capacity_bytes < 1 << 40

    @rule(data=st.data(), keep_bytes=st.sampled_from([0, 500, 5000]))
    def compact(self, data: st.DataObject, keep_bytes: int) -> None:
        journal = self.promise.journal
        index = data.draw(st.integers(1, journal.commit_index))
        held = journal.bytes_since(journal.entries[0][1]) - journal.bytes_since(index)
        self.promise.compact(index, keep_bytes)
        kept = journal.bytes_since(journal.entries[0][1]) - journal.bytes_since(index)
        assert kept >= min(keep_bytes, held)

    @rule(ahead=st.integers(0, 50))
    def reset(self, ahead: int) -> None:
        _, last, last_term = self.promise.log.entries[-1]
        try:
            self.promise.reset(last + ahead, last_term, members("n1", index=1))
        except StorageFull:
            assert self.disk.capacity_bytes < 1 << 40
            self.promise.logs.pop()
            self.promise.configurations.pop()
            self.promise.commits.pop()

    @rule(full=st.booleans())
    def fill_or_empty_the_disk(self, full: bool) -> None:
        used = (1 << 40) - CrashDisk.free_bytes(self.disk, "") if self.disk.capacity_bytes == 1 << 40 else None
        if full and used is not None:
            self.disk.capacity_bytes = used
        elif not full:
            self.disk.capacity_bytes = 1 << 40

    @rule(after=st.integers(1, 12), act=st.sampled_from(["sync", "compact", "reset"]), randomly=st.randoms())
    def lose_power(self, after: int, act: str, randomly: random.Random) -> None:
        self.disk.crash_at = self.disk.operations + after
        try:
            if act == "sync":
                self.promise.sync(force_commit=True)
            elif act == "compact":
                self.promise.compact(self.promise.journal.commit_index, 0)
            else:
                self.promise.reset(self.promise.log.last + 3, self.promise.log.entries[-1][2], members("n9"))
        except (PowerLoss, StorageFull):
            pass
        self._restart(randomly.randrange)

    @rule(randomly=st.randoms(), operation=st.sampled_from(["sync", "pwrite"]))
    def fail(self, randomly: random.Random, operation: str) -> None:
        self.promise.append(b"\0something to write")
        self.disk.failing[operation] = errno.EIO
        with pytest.raises((JournalFailed, StorageFull)) as raised:
            self.promise.sync()
        if raised.type is JournalFailed:
            with pytest.raises(JournalFailed):
                self.promise.journal.sync()
        self.disk.failing.clear()
        # The machine goes on and the process starts again: what it reads may be in memory only.
        self.disk.capacity_bytes = 1 << 40
        self.promise.journal.close()
        self.promise.reopen(self.disk)
        self._restart(randomly.randrange)

    @rule()
    def restart_cleanly(self) -> None:
        base = self.promise.journal.entries[0][1:]
        self.promise.journal.close()
        self.promise.reopen(self.disk)
        assert self.promise.journal.entries[0][1:] == base

    def _restart(self, fate: Fate) -> None:
        self.disk = self.disk.after_crash(fate)
        self.disk.capacity_bytes = 1 << 40
        self.promise.reopen(self.disk)

    @invariant()
    def memory_is_right(self) -> None:
        self.promise.check_memory()


TestJournalOnABadDisk = JournalOnABadDisk.TestCase
TestJournalOnABadDisk.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
