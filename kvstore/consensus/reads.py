"""ReadIndex on the leader: linearizable reads without a log entry (dissertation 6.4, rule R11).

A read waits in `_waiting` until a round starts. A round that started after it arrived and that a majority answered
proves that no newer leader had been elected when the read arrived. Reads share rounds; a read never joins a round that
has already been sent. One round is under way at a time.
"""

from collections.abc import Collection
from typing import Protocol

from kvstore.consensus.engine import ReadDone
from kvstore.consensus.rules import is_majority


class Group(Protocol):
    """Who this node is and who votes at this moment."""

    name: str

    @property
    def voters(self) -> Collection[str]:
        """Names of the voters."""


class ReadRounds:
    """Bookkeeping of one leader's reads. Pure: the owner sends the rounds and brings the answers."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._waiting: list[ReadDone] = []
        self._asked: list[ReadDone] = []
        self._answers: set[str] = set()
        self._index = 0
        self.round = 0
        self.reads_total = 0

    def add(self, done: ReadDone) -> None:
        """Queue a read; `done(read index, None)` or `done(0, error)` is called exactly once."""
        self._waiting.append(done)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._asked)

    def start(self, commit_index: int) -> int | None:
        """Begin a round for everything that waits, if none is under way. Returns its number, to be sent to all
        voters.
        """
        if self._asked or not self._waiting:
            return None
        self._asked, self._waiting = self._waiting, []
        self._answers = {self._group.name}
        self._index = commit_index
        self.round += 1
        self.reads_total += len(self._asked)
        return self.round

    def again(self) -> int | None:
        """The number of the round under way, to be sent once more where an answer may have been lost."""
        return self.round if self._asked else None

    def answered(self, peer: str, number: int) -> None:
        """`peer` confirmed round `number` in this leader's term."""
        if self._asked and number == self.round:
            self._answers.add(peer)

    def confirmed(self) -> tuple[list[ReadDone], int]:
        """The reads that may go on, with their read index; empty while the round lacks a majority."""
        if not self._asked or not is_majority(self._answers, self._group.voters):
            return [], 0
        done, self._asked = self._asked, []
        return done, self._index

    def abort(self) -> list[ReadDone]:
        """Everything that still waits, to be told that this node leads no more."""
        rest = self._asked + self._waiting
        self._asked, self._waiting = [], []
        return rest
