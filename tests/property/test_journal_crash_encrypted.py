"""The same promise of an encrypted journal: at every crash, and while keys change."""

import random

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from kvstore.consensus.journal import Journal
from kvstore.errors import StorageFull
from tests.property.test_journal_crash import JournalOnABadDisk, fates, workload
from tests.support.crash_disk import KEPT, LOST, CrashDisk, PowerLoss
from tests.support.journal_model import DIRECTORY, Promise, node_disk
from tests.support.vaults import ring, vault

SEGMENT_BYTES = 8192 + 1200


def run_until_crash(crash_at: int | None) -> tuple[CrashDisk, Promise | None]:
    disk = node_disk()
    disk.crash_at = crash_at
    promise = None
    try:
        promise = Promise(disk, SEGMENT_BYTES, vault(7, 8, 9))
        workload(promise)
        promise.vault.replace(ring(8, 7, 9))
        promise.renew()
        promise.append(b"\0by another key")
        promise.sync()
    except PowerLoss:
        pass
    return disk, promise


OPERATIONS = run_until_crash(None)[0].operations


@pytest.mark.parametrize("crash_at", range(1, OPERATIONS + 2, 3))
def test_power_lost_before_a_disk_operation_loses_nothing_of_an_encrypted_journal(crash_at: int) -> None:
    disk, promise = run_until_crash(crash_at)
    if promise is None:
        found = disk.after_crash(KEPT)
        journal = Journal.open(found, DIRECTORY, segment_bytes=SEGMENT_BYTES, vault=vault(7))
        assert journal.entries == [(b"\x01", 1, 0)]
        return
    kept = promise.remember()
    for fate in fates()[:4]:
        promise.recall(kept)
        found = disk.after_crash(fate)
        promise.reopen(found)
        promise.append(b"\0goes on")
        promise.sync()
        promise.reopen(found.after_crash(LOST))


class EncryptedJournalOnABadDisk(JournalOnABadDisk):
    """With another active key now and then, or none."""

    @initialize(segment_bytes=st.sampled_from([8192 + 400, 8192 + 1200, 20_000]))
    def begin(self, segment_bytes: int) -> None:
        self.disk = node_disk()
        self.promise = Promise(self.disk, segment_bytes, vault(1, 2))

    @rule(active=st.sampled_from([0, 1, 2]), renew=st.booleans())
    def rotate(self, active: int, renew: bool) -> None:
        self.promise.vault.replace(ring(1, 2, active=active))
        if renew:
            try:
                self.promise.renew()
            except StorageFull:
                assert self.disk.capacity_bytes < 1 << 40


TestEncryptedJournalOnABadDisk = EncryptedJournalOnABadDisk.TestCase
TestEncryptedJournalOnABadDisk.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_nothing_that_was_written_can_be_read_on_the_disk() -> None:
    disk = node_disk()
    promise = Promise(disk, SEGMENT_BYTES, vault(3))
    marker = random.Random(1).randbytes(40)
    promise.append(b"\0" + marker)
    promise.sync()
    promise.journal.close()
    found = b"".join(disk.open(f"{DIRECTORY}/{name}").pread(1 << 20, 0) for name in disk.list(DIRECTORY))
    assert marker not in found
    assert len(found) > SEGMENT_BYTES
