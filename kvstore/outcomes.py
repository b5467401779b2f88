"""What becomes of a write that was not acknowledged: every way in which that can happen, with the outcome that may be
told, and why no more and no less can be said. The one place where a reason turns into an outcome.

`python -m kvstore.outcomes` prints the table as docs/consistency.md shows it.
"""

from typing import Any, Final, NamedTuple

from kvstore.errors import (
    DeadlineExceeded,
    Discarded,
    KvError,
    MembersUnreachable,
    NoLeader,
    NoQuorum,
    Outcome,
    Overloaded,
    StorageFull,
)


class Fate(NamedTuple):
    """One way not to be acknowledged: the error that tells it, the outcome, what happened, and why that outcome."""

    error: type[KvError]
    outcome: Outcome
    what: str
    why: str


# Known before anything was proposed.
NO_QUORUM: Final = Fate(
    NoQuorum, "not_applied", "a majority of the voters cannot be reached", "nobody appended it: no leader took it"
)
NO_LEADER: Final = Fate(
    NoLeader, "not_applied", "nobody leads, or the node asked has stopped leading", "nobody appended it"
)
NOT_DRAINED: Final = Fate(
    MembersUnreachable,
    "not_applied",
    "level all, and a voter cannot be reached or still has writes at level one to hand over",
    "it is proposed only after every voter has answered",
)
STORAGE_FULL: Final = Fate(
    StorageFull, "not_applied", "a majority of the voters has no room on disk", "it is refused before it is appended"
)
NOT_TAKEN: Final = Fate(
    Overloaded,
    "not_applied",
    "the leader did not take it into its log in time",
    "it was taken out of the leader's queue before it was appended",
)
# Appended by a leader.
REPLACED: Final = Fate(
    Discarded,
    "not_applied",
    "another leader's entry was committed in its place",
    "an index holds one entry for ever (State Machine Safety, Raft 5.4.3), and a write is proposed at one index only",
)
OVERWRITTEN: Final = Fate(
    DeadlineExceeded,
    "unknown",
    "another entry took its place in this node's log, and is not committed",
    "a member that still holds the old entry may lead next",
)
COVERED: Final = Fate(
    DeadlineExceeded,
    "unknown",
    "a snapshot took the place of the entry",
    "the snapshot may hold its effect or not; the entry that would tell is gone",
)
LEADERSHIP_LOST: Final = Fate(
    DeadlineExceeded,
    "unknown",
    "leadership was lost before the write was committed",
    "the next leader has the entry or not",
)
STOPPED: Final = Fate(DeadlineExceeded, "unknown", "this node has stopped", "others may have the entry and commit it")
NOT_IN_TIME: Final = Fate(
    DeadlineExceeded,
    "unknown",
    "the write was not committed in time; it may still take effect",
    "it lies in the leader's log",
)
# Handed to the leader by another node.
LEADER_SILENT: Final = Fate(
    DeadlineExceeded,
    "unknown",
    "the leader did not answer in time; the write may still take effect",
    "the leader may have appended it",
)
LEADER_GONE: Final = Fate(
    DeadlineExceeded,
    "unknown",
    "the connection to the leader ended before its answer came; the write may have taken effect",
    "the leader may have appended it before",
)
# Committed.
LEVEL_NOT_MET: Final = Fate(
    DeadlineExceeded,
    "committed",
    "the write is committed, but not known to be on every voter",
    "a majority has it, so it stays; who has not confirmed it may have it or not",
)

FATES: Final = (
    NO_QUORUM,
    NO_LEADER,
    NOT_DRAINED,
    STORAGE_FULL,
    NOT_TAKEN,
    REPLACED,
    OVERWRITTEN,
    COVERED,
    LEADERSHIP_LOST,
    STOPPED,
    NOT_IN_TIME,
    LEADER_SILENT,
    LEADER_GONE,
    LEVEL_NOT_MET,
)


def error(fate: Fate, detail: str | None = None, **known: Any) -> KvError:
    """The error that tells `fate`; `detail` is more exact than the table can be, `known` further members of it."""
    return fate.error(detail or fate.what, outcome=fate.outcome, **known)


def table() -> str:
    """The table in Markdown."""
    rows = [
        f"| {fate.error.status} `{fate.error.code}` | `{fate.outcome}` | {fate.what} | {fate.why} |" for fate in FATES
    ]
    return "\n".join(["| answer | outcome | what happened | why no more can be said |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())
