"""The rules of the gate around the engine: pure functions, no state, no I/O.

PySyncObj owns role, term, vote, log, indices and elections. Every message and reply, and the election deadline, pass
these rules on the way into and out of it. Each rule says what it demands, where Raft says so ("Raft" is Ongaro and
Ousterhout 2014, "dissertation" Ongaro 2014), and what the engine alone would do: the facts are numbered, and shown on
the stock library, in jepsen-like/regressions.

R1  Truncate only on conflict (Raft 5.3, receiver rules 3 and 4). Fact 3.
    A follower drops entries only where one of them differs in term from the leader's. What already matches is stripped
    before the engine sees the message. Alone, the engine drops everything behind prevLogIndex, applied entries too.
R2  Commit no further than what was matched (Raft 5.3, receiver rule 5, "index of last new entry"). Facts 3 and 4.
    Alone, the engine commits up to the end of its log, which may hold entries that this leader never sent.
R3  A rejection tells where to look next, by term (Raft 5.3, end; etcd calls it findConflictByTerm).
R4  A reply belongs to a term and to a message (Raft 5.1). Alone, the engine's replies carry neither, so that a late one
    counts for entries that it never saw. Fact 4.
R5  Votes are a set of the ids of current voters. Alone, the engine counts answers, the same stranger's twice (fact 5).
R6  A vote may be given again to the same candidate in the same term (Raft 5.2): its first answer may have been lost.
R7  While a leader was heard from within the minimum election timeout, vote requests are ignored, unless that leader
    asked for the election itself (dissertation 4.2.3).
R8  Before campaigning, a candidate asks whether it would win (pre-vote, dissertation 9.6): no term is raised in vain.
    Fact 5.
R9  A message of an older term is answered with the present term (Raft 5.1), so that its sender steps down at once.
    The answer has no message number: its receiver may lead the present term by now, and must not take it for the
    rejection of something that it has sent in this term (R4).
R10 A leader that has not heard from a majority within one election timeout steps down (check-quorum, dissertation 6.2).
    Fact 5.
R11 A read is confirmed by a majority that answered a round which began after the read arrived, and only once the leader
    has committed an entry of its own term (ReadIndex, dissertation 6.4). Fact 5.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

LogEntry = tuple[bytes, int, int]


class Accept(NamedTuple):
    """An append that fits. The engine is given `prev_*` and `entries`; `matched` goes into the reply, `commit` is
    R2's.
    """

    prev_index: int
    prev_term: int
    entries: list[LogEntry]
    matched: int
    commit: int


class Reject(NamedTuple):
    """An append that does not fit. (`hint_index`, `hint_term`) is where the leader should try next (R3)."""

    hint_index: int
    hint_term: int


def term_at(log: Sequence[LogEntry], index: int) -> int | None:
    """The term of the entry at `index`, or None if the log does not hold it."""
    offset = index - log[0][1]
    return log[offset][2] if 0 <= offset < len(log) else None


def last_at_or_below_term(log: Sequence[LogEntry], index: int, term: int) -> tuple[int, int]:
    """R3: (index, term) of the last entry not behind `index` whose term is not above `term`; the log's first at
    worst.
    """
    offset = min(index - log[0][1], len(log) - 1)
    while offset > 0 and log[offset][2] > term:
        offset -= 1
    return log[max(offset, 0)][1], log[max(offset, 0)][2]


def normalise_append(
    log: Sequence[LogEntry],
    commit: int,
    prev_index: int,
    prev_term: int,
    entries: Sequence[tuple[int, bytes]],
    leader_commit: int,
) -> Accept | Reject:
    """R1, R2, R3: turn AppendEntries into one that the engine can only handle rightly.

    `entries` are (term, command) from `prev_index + 1` on. What lies at or below `commit` is committed, so it is the
    same in the log of every later leader (Leader Completeness) and needs no comparison; it may be compacted away here.
    """
    first, last = log[0][1], log[-1][1]
    matched = prev_index + len(entries)
    if prev_index < commit:
        entries = entries[commit - prev_index :]
        prev_index, prev_term = commit, log[commit - first][2]
        matched = max(matched, commit)
    elif prev_index > last or log[prev_index - first][2] != prev_term:
        return Reject(*last_at_or_below_term(log, min(prev_index, last), prev_term))
    same = 0
    for term, _ in entries:
        offset = prev_index + 1 + same - first
        if offset >= len(log) or log[offset][2] != term:
            break
        same += 1
    new = [(command, prev_index + 1 + same + k, term) for k, (term, command) in enumerate(entries[same:])]
    if new:
        before = log[prev_index + same - first]
    else:
        before = log[-1]  # nothing is new: the engine must not drop what follows, so it is told the end of its own log
    return Accept(before[1], before[2], new, matched, min(leader_commit, matched))


def next_after_reject(log: Sequence[LogEntry], match: int, hint_index: int, hint_term: int) -> int:
    """R3, the leader's side: the index to send from next; never at or below what is known to match.

    At or below the log's first entry if even that one is not what the follower has there: it needs a snapshot. Never
    below 2: every log begins with the same entry 1, and entries before it do not exist.
    """
    index, term = last_at_or_below_term(log, hint_index, hint_term)
    if term > hint_term:
        index -= 1
    return max(match, min(index, hint_index), 1) + 1


def log_is_current(own: tuple[int, int], other: tuple[int, int]) -> bool:
    """Raft 5.4.1: whether a log that ends in `other` is at least as current as one that ends in `own` (term, index)."""
    return other >= own


def is_majority(names: Collection[str], voters: Collection[str]) -> bool:
    """R5: whether `names` holds more than half of `voters`; others in it do not count."""
    return 2 * len(set(names) & set(voters)) > len(voters)


def majority_time(confirmed_s: Sequence[float], voters: int) -> float:
    """The latest moment that a majority of `voters` confirmed at or after, given when each last did."""
    latest = sorted(confirmed_s, reverse=True)
    needed = voters // 2 + 1
    return latest[needed - 1] if len(latest) >= needed else float("-inf")


def heeds_vote_request(*, transfer: bool, leads: bool, since_leader_s: float, election_s_min: float) -> bool:
    """R7: whether a request for a vote or pre-vote is looked at at all."""
    return transfer or not (leads or since_leader_s < election_s_min)


def grants_pre_vote(term: int, asked_term: int, own_log: tuple[int, int], other_log: tuple[int, int]) -> bool:
    """R8: whether this node would vote for the asker in `asked_term`. Nothing is promised by it."""
    return asked_term > term and log_is_current(own_log, other_log)


def grants_again(term: int, voted_for: str | None, asker: str, asked_term: int) -> bool:
    """R6: whether the vote of this very term has already been given to the asker."""
    return asked_term == term and voted_for == asker


def may_read(commit_term: int | None, term: int) -> bool:
    """R11: whether the leader's commit index covers an entry of its own term."""
    return commit_term == term
