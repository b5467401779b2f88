"""What peers say to each other. Every message is an array with its tag first, validated field by field on arrival.

Terms, indices and names are those of the Raft paper (Ongaro and Ousterhout 2014) and dissertation (Ongaro 2014).
Replies carry the term and the number (`seq`) of what they answer, so that a stale one can be told from a fresh one.
"""

from typing import Annotated, Any, Final

import msgspec

from kvstore.limits import REQUEST_ID_CHARS_MAX, TRACEPARENT_CHARS_MAX

Index = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
Name = Annotated[str, msgspec.Meta(max_length=64)]


# The `seq` of an answer that only tells a higher term: whoever leads that very term must not take it for an answer to a
# message of its own. Leaders number from 1.
NO_MESSAGE: Final = 0


class _Message(msgspec.Struct, array_like=True, frozen=True, gc=False, forbid_unknown_fields=True):
    pass


class Append(_Message, frozen=True, tag=1):
    """AppendEntries. `entries` are (term, command) from `prev_index + 1` on.

    `echo` and `majority_age_us`: see kvstore.consensus.freshness. `sync_commit`: make the commit index durable before
    answering (level ALL). `reserve`: a majority lacks room, so
    these entries are ones that free some, and may use the room held in reserve.
    """

    term: Index
    seq: Index
    prev_index: Index
    prev_term: Index
    commit_index: Index
    sync_commit: bool
    reserve: bool
    entries: list[tuple[Index, bytes]]
    echo: Index = 0
    majority_age_us: Index = 0


class AppendReply(_Message, frozen=True, tag=2):
    """Answer to Append `seq`. On success `index` is the last that matches and is durable here.

    On failure (`index`, `hint_term`) is the place to try next: the last entry here whose term is not above the one
    asked. `applied` and `commit_durable` tell how far this node has applied and made the commit index durable. Without
    `room` its disk is full, and it took no new entries; without `reserve` it takes no deletes either. `clock`: a token
    of the sender's clock, for the echo.
    """

    term: Index
    seq: Index
    success: bool
    index: Index
    hint_term: Index
    applied: Index
    commit_durable: Index
    room: bool = True
    reserve: bool = True
    clock: Index = 0


class VoteRequest(_Message, frozen=True, tag=3):
    """RequestVote; `pre` asks whether a vote would be given (dissertation 9.6), `transfer` that the leader wishes
    it.
    """

    term: Index
    last_index: Index
    last_term: Index
    pre: bool
    transfer: bool


class VoteReply(_Message, frozen=True, tag=4):
    """Answer to VoteRequest. `term` is the term voted in if granted, else the sender's own."""

    term: Index
    granted: bool
    pre: bool


class ReadRound(_Message, frozen=True, tag=5):
    """The leader asks for confirmation that it still leads (ReadIndex, dissertation 6.4)."""

    term: Index
    round: Index


class ReadRoundReply(_Message, frozen=True, tag=6):
    """The sender's term when it saw ReadRound `round`."""

    term: Index
    round: Index


class SnapshotChunk(_Message, frozen=True, tag=7):
    """InstallSnapshot: bytes of the file at `offset`, of `size` in all, covering the log to (`index`, `index_term`)."""

    term: Index
    seq: Index
    index: Index
    index_term: Index
    offset: Index
    size: Index
    data: bytes


class SnapshotReply(_Message, frozen=True, tag=8):
    """Answer to SnapshotChunk `seq`: `offset` bytes are here; `done` when the snapshot was installed or not needed.
    Without `room` there is none for a snapshot of this size.
    """

    term: Index
    seq: Index
    index: Index
    offset: Index
    done: bool
    room: bool = True


class TimeoutNow(_Message, frozen=True, tag=9):
    """Leadership transfer: campaign at once (dissertation 3.10)."""

    term: Index


class Call(_Message, frozen=True, tag=10):
    """A request of one node's service layer to another's, answered by Return with the same `id`."""

    id: Index
    method: Name
    body: list[Any]


# How far a build's calls go, as its handshake tells: 2 knows TracedCall.
CALLS: Final = 2


class TracedCall(Call, frozen=True, tag=12):
    """A Call that says on whose behalf (kvstore.asking); only for those who have told that they know it."""

    request_id: Annotated[str, msgspec.Meta(max_length=REQUEST_ID_CHARS_MAX)]
    traceparent: Annotated[str, msgspec.Meta(max_length=TRACEPARENT_CHARS_MAX)]


class Return(_Message, frozen=True, tag=11):
    """The answer to Call `id`: a `body`, or the `error` as a problem (kvstore.errors)."""

    id: Index
    body: list[Any] | None
    error: dict[str, Any] | None


Message = (
    Append
    | AppendReply
    | VoteRequest
    | VoteReply
    | ReadRound
    | ReadRoundReply
    | SnapshotChunk
    | SnapshotReply
    | TimeoutNow
    | Call
    | TracedCall
    | Return
)


class BadMessage(ValueError):
    """Bytes from a peer that are not one of the messages above."""
