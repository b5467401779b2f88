"""What the nemeses of damaged disks do to a directory: a torn tail is cut and costs nothing, a flipped bit is found."""

import random
from pathlib import Path

import pytest

from kvjepsen.nemesis.bit_flip import flip_somewhere
from kvjepsen.nemesis.journals import newest_segment
from kvjepsen.nemesis.torn_tail import torn_group
from kvstore.consensus.disk import OsDisk
from kvstore.consensus.journal import Journal
from kvstore.errors import CorruptData
from kvstore.vault.envelope import NO_KEYS, Vault
from tests.support.vaults import vault

ENTRIES = 8


def killed(data: Path, keys: Vault = NO_KEYS) -> Path:
    """A data directory with a journal, as a killed process leaves it: never closed."""
    directory = data / "journal"
    directory.mkdir(parents=True)
    journal = Journal.open(OsDisk(), str(directory), vault=keys)
    journal.set_term(3, "n1")
    for index in range(1, ENTRIES + 1):
        journal.append(b"x" * (10 * index), journal.entries[-1][1] + 1, 3)
        journal.sync()
    return directory


def opened(directory: Path, keys: Vault = NO_KEYS) -> list[tuple[bytes, int, int]]:
    journal = Journal.open(OsDisk(), str(directory), vault=keys)
    journal.close()
    return list(journal.entries)


@pytest.mark.parametrize("keys", [NO_KEYS, vault(1)], ids=["plain", "encrypted"])
@pytest.mark.parametrize("seed", range(6))
def test_a_torn_group_is_cut_and_nothing_below_it_is_lost(tmp_path: Path, seed: int, keys: Vault) -> None:
    directory = killed(tmp_path, keys)
    segment = newest_segment(directory, keys)
    torn = torn_group(segment, random.Random(seed))
    with segment.path.open("r+b") as file:
        file.seek(segment.end)
        file.write(torn)
    entries = opened(directory, keys)
    assert len(entries) == ENTRIES + 1
    assert entries[-1] == (b"x" * 10 * ENTRIES, entries[0][1] + ENTRIES, 3)
    assert segment.path.read_bytes()[segment.end : segment.end + len(torn)] != torn


@pytest.mark.parametrize("keys", [NO_KEYS, vault(1)], ids=["plain", "encrypted"])
@pytest.mark.parametrize("seed", range(6))
def test_a_flipped_bit_in_the_journal_is_never_passed_over(tmp_path: Path, seed: int, keys: Vault) -> None:
    directory = killed(tmp_path, keys)
    mark = newest_segment(directory, keys).mark
    _, offset = flip_somewhere(tmp_path, random.Random(seed), keys)
    assert offset < mark
    with pytest.raises(CorruptData, match="offset"):
        Journal.open(OsDisk(), str(directory), vault=keys)


def test_the_newest_segment_tells_where_the_log_stands(tmp_path: Path) -> None:
    segment = newest_segment(killed(tmp_path))
    assert segment.last_term == 3
    assert segment.mark < segment.end < segment.size
    assert segment.last_index - ENTRIES in (0, 1)
