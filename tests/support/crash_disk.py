"""The disk in memory that tests use, under the name that they know it by."""

from kvstore.testing.sim_disk import KEPT, LOST, SECTOR_BYTES, Fate, PowerLoss
from kvstore.testing.sim_disk import SimDisk as CrashDisk
from kvstore.testing.sim_disk import SimFile as CrashFile

__all__ = ["KEPT", "LOST", "SECTOR_BYTES", "CrashDisk", "CrashFile", "Fate", "PowerLoss"]
