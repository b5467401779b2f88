"""What a journal promises, kept beside a real one: the same calls go to both, and after a crash the two are compared.

The promise: what the last sync that returned had made durable is there; beyond it, the log is one of the logs that the
journal has had since, term and vote are one of the pairs that it has had since, and likewise the commit index. Nothing
else, and nothing in part.
"""

from typing import Any, NamedTuple

from kvstore.consensus.configuration import Configuration
from kvstore.consensus.disk import Disk
from kvstore.consensus.journal import Journal
from kvstore.consensus.journal_format import NOOP
from kvstore.vault.envelope import NO_KEYS, Vault
from tests.support.crash_disk import CrashDisk

DIRECTORY = "data/journal"


def node_disk() -> CrashDisk:
    """A disk on which the data directory is durable; that much is up to whoever starts a node."""
    disk = CrashDisk()
    disk.mkdir("data")
    disk.sync_dir("")
    disk.operations = 0
    return disk


class Log(NamedTuple):
    """Entries as (command, index, term); the first is the base that a reset left, whose command does not matter."""

    entries: tuple[tuple[bytes, int, int], ...]

    @property
    def last(self) -> int:
        return self.entries[-1][1]

    def at(self, index: int) -> tuple[bytes, int, int]:
        return self.entries[index - self.entries[0][1]]

    def shows(self, found: list[tuple[bytes, int, int]]) -> bool:
        """Whether `found` is this log, begun at any entry of it."""
        base = found[0][1]
        if not self.entries[0][1] <= base <= self.last:
            return False
        expected = self.entries[base - self.entries[0][1] :]
        return found[0][1:] == expected[0][1:] and tuple(found[1:]) == expected[1:]


class Promise:
    """The calls of Journal, passed on, with a note of what may be found after a crash from now on."""

    def __init__(self, disk: Disk, segment_bytes: int, vault: Vault = NO_KEYS) -> None:
        self.segment_bytes = segment_bytes
        self.vault = vault
        self.covered = 1  # the newest snapshot that the journal was told of: the log may begin there or before
        self.logs = [Log(((NOOP, 1, 0),))]
        self.votes: list[tuple[int, str | None]] = [(0, None)]
        self.configurations = [Configuration(0, ())]
        self.commits = [1]
        self.journal = Journal.open(disk, DIRECTORY, segment_bytes=segment_bytes, vault=vault)

    @property
    def log(self) -> Log:
        return self.logs[-1]

    def append(self, command: bytes) -> None:
        _, last, last_term = self.log.entries[-1]
        entry = (command, last + 1, max(last_term, self.votes[-1][0]))
        self.logs.append(Log((*self.log.entries, entry)))
        self.journal.append(*entry)

    def truncate(self, index: int) -> None:
        self.logs.append(Log(self.log.entries[: index - self.log.entries[0][1]]))
        self.journal.truncate(index)

    def set_term(self, term: int, voted_for: str | None) -> None:
        self.votes.append((term, voted_for))
        self.journal.set_term(term, voted_for)

    def set_commit(self, index: int) -> None:
        self.commits.append(max(self.commits[-1], index))
        self.journal.set_commit(index)

    def set_configuration(self, configuration: Configuration) -> None:
        self.configurations.append(configuration)
        self.journal.set_configuration(configuration)

    def sync(self, *, force_commit: bool = False, reserve: bool = False) -> None:
        commits = self.journal.dirty or force_commit
        self.journal.sync(force_commit=force_commit, reserve=reserve)
        self._now_durable(commits)

    def compact(self, index: int, keep_bytes: int) -> None:
        self.covered = max(self.covered, index)
        self.journal.compact(index, keep_bytes)

    def reset(self, index: int, term: int, configuration: Configuration) -> None:
        self.covered = max(self.covered, index)
        self.logs.append(Log(((NOOP, index, term),)))
        self.configurations.append(configuration)
        self.commits.append(index)
        self.journal.reset(index, term, configuration)
        self._now_durable(commits=True)

    def renew(self) -> None:
        self.journal.renew()

    def reopen(self, disk: Disk) -> None:
        """Open what a crash left, hold it against the promise, and go on from there."""
        self.journal = journal = Journal.open(disk, DIRECTORY, segment_bytes=self.segment_bytes, vault=self.vault)
        shown = [log for log in self.logs if log.shows(journal.entries)]
        assert shown, f"{_brief(journal.entries)} is none of {[_brief(log.entries) for log in self.logs]}"
        assert journal.entries[0][1] <= max(self.covered, shown[-1].entries[0][1]), "the log begins behind its snapshot"
        assert (journal.term, journal.voted_for) in self.votes
        assert journal.configuration in self.configurations
        assert journal.commit_index in self.commits or journal.commit_index == journal.entries[0][1]
        assert max(self.commits[0], journal.entries[0][1]) <= journal.commit_index <= journal.entries[-1][1]
        assert not journal.dirty
        assert (journal.durable_index, journal.durable_term) == (journal.entries[-1][1], journal.term)
        assert journal.durable_commit == journal.commit_index
        self.logs = [shown[-1]]
        self.votes = [(journal.term, journal.voted_for)]
        self.configurations = [journal.configuration]
        self.commits = [journal.commit_index]

    def remember(self) -> list[list[Any]]:
        """What may be found from now on, to come back to it with `recall` after another try."""
        return [list(kept) for kept in (self.logs, self.votes, self.configurations, self.commits)]

    def recall(self, kept: list[list[Any]]) -> None:
        self.logs, self.votes, self.configurations, self.commits = (list(states) for states in kept)

    def check_memory(self) -> None:
        """What can be read now is what the calls said, crash or not."""
        journal = self.journal
        assert self.log.shows(journal.entries)
        assert (journal.term, journal.voted_for) == self.votes[-1]
        assert journal.configuration == self.configurations[-1]
        assert journal.commit_index == self.commits[-1]
        assert journal.durable_index <= journal.entries[-1][1]

    def _now_durable(self, commits: bool) -> None:
        del self.logs[:-1], self.votes[:-1], self.configurations[:-1]
        if commits:
            del self.commits[:-1]


def _brief(entries: list[tuple[bytes, int, int]] | tuple[tuple[bytes, int, int], ...]) -> str:
    return f"{entries[0][1]}..{entries[-1][1]} ({[term for _, _, term in entries][:30]})"
