"""What must hold at every moment in a cluster, in one place: fed with what nodes do, complains at once.

The names are those of the Raft paper (Ongaro and Ousterhout 2014, figure 3) where it has one.

Election safety        at most one leader in a term
Log matching           two logs that hold an entry with the same index and term are the same up to there
Leader completeness    a leader's log holds everything that was committed in earlier terms
State machine safety   no two nodes commit different entries at one index, or differ in content after it
Commit safety          what is committed is durable on a majority of the voters
Monotony               term, commit index and applied index never go back while a process lives; what was durable
                       (entries, term, vote) is there after a restart
One change at a time   at most one configuration that is not committed

`Invariants` knows no node and no network. The simulator feeds it after every step (`kvstore.testing.watch`); a live
harness can feed it what nodes publish: `leads` with every leader seen, `applied` with every digest seen.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

Entry = tuple[bytes, int, int]

_CONFIGURATION = b"\x04"


class InvariantBroken(AssertionError):
    """Something happened that consensus rules out. `rule` is its name at the head of this module."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


class Moment(NamedTuple):
    """Where one process stands. `incarnation` counts the starts of its node."""

    node: str
    incarnation: int
    term: int
    commit_index: int
    applied_index: int


class Invariants:
    """Everything seen so far in one cluster. Every method raises InvariantBroken."""

    def __init__(self) -> None:
        # committed[i] is the entry with index i + 2: every log begins with a no-op at index 1.
        self.committed: list[Entry] = []
        self.elections_total = 0
        self._leaders: dict[int, tuple[str, int]] = {}
        self._entries: dict[tuple[int, int], tuple[bytes, int]] = {}
        self._commits: list[tuple[int, int]] = [(0, 1)]  # (term in which, up to which index), both rising
        self._digests: dict[int, tuple[int, str]] = {}
        self._moments: dict[str, Moment] = {}

    @property
    def commit_index(self) -> int:
        """The highest index that any node has called committed."""
        return len(self.committed) + 1

    def leads(self, node: str, incarnation: int, term: int) -> bool:
        """`node` says that it leads `term`. True when that is news."""
        known = self._leaders.get(term)
        if known is None:
            self._leaders[term] = (node, incarnation)
            self.elections_total += 1
            return True
        if known != (node, incarnation):
            raise InvariantBroken(
                "election safety", f"{node} (start {incarnation}) and {known[0]} (start {known[1]}) lead term {term}"
            )
        return False

    def leader_log(self, node: str, term: int, last_index: int, term_at: Callable[[int], int | None]) -> None:
        """`node` has just begun to lead `term`; `term_at` gives the term of an entry of its log, None if compacted."""
        index = max((index for in_term, index in self._commits if in_term < term), default=1)
        if index <= 1:
            return
        if last_index < index or term_at(index) not in (None, self.committed[index - 2][2]):
            raise InvariantBroken(
                "leader completeness",
                f"{node} leads term {term} with a log up to {last_index} that lacks entry {index} of term "
                f"{self.committed[index - 2][2]}, committed before",
            )

    def logged(self, node: str, entries: Sequence[Entry], start: int) -> None:
        """`entries[start:]` were added to the log of `node`, behind `entries[start - 1]`."""
        known, before = self._entries, entries[start - 1][2]
        for place in range(start, len(entries)):
            command, index, term = entries[place]
            found = known.setdefault((index, term), (command, before))
            if found[1] != before or found[0] != command:
                raise InvariantBroken(
                    "log matching", f"entry {index} of term {term} on {node} is not the one elsewhere"
                )
            before = term

    def one_change(self, node: str, uncommitted: Sequence[Entry]) -> None:
        """`uncommitted` is the tail of the log of `node` behind its commit index."""
        changes = [index for command, index, _ in uncommitted if command[:1] == _CONFIGURATION]
        if len(changes) > 1:
            raise InvariantBroken("one change at a time", f"{node} holds uncommitted configurations at {changes}")

    def committed_up_to(
        self, node: str, term: int, entries: Sequence[Entry], index: int, holders: Callable[[Entry], str | None]
    ) -> None:
        """`node`, in `term`, calls everything up to `index` committed; `entries` is its log from some base on.

        `holders(entry)` says why an entry that nobody has called committed before is not durable enough, or None.
        """
        first, committed = entries[0][1], self.committed
        known = len(committed) + 1
        for place in range(max(known + 1, first + 1), index + 1):
            entry = entries[place - first]
            problem = holders(entry)
            if problem is not None:
                raise InvariantBroken("commit safety", f"{node} committed entry {place} of term {entry[2]}: {problem}")
            if place != len(committed) + 2:
                raise InvariantBroken("commit safety", f"{node} committed {place} right after {len(committed) + 1}")
            committed.append(entry)
        if index > known:
            self._commits.append((max(term, self._commits[-1][0]), index))

    def same_committed(self, node: str, entries: Sequence[Entry], start: int, end: int) -> None:
        """`node` has newly called committed what its log holds from index `start` to `end`, both included."""
        first, committed = entries[0][1], self.committed
        for index in range(max(start, first + 1, 2), end + 1):
            here, there = entries[index - first], committed[index - 2]
            if here[2] != there[2] or here[0] != there[0]:
                raise InvariantBroken(
                    "state machine safety",
                    f"{node} committed entry {index} of term {here[2]}, elsewhere it is of term {there[2]}",
                )

    def applied(self, node: str, index: int, digest: int) -> None:
        """After applying up to `index`, the content of `node` has this digest."""
        known = self._digests.setdefault(index, (digest, node))
        if known[0] != digest:
            raise InvariantBroken(
                "state machine safety", f"{node} and {known[1]} differ in content after entry {index}"
            )

    def forget(self, node: str) -> None:
        """`node` lost its disk for good; whoever comes back under its name is somebody else."""
        self._moments.pop(node, None)

    def moved(self, now: Moment) -> None:
        """Where a process stands now; nothing goes back while it lives."""
        before = self._moments.get(now.node)
        self._moments[now.node] = now
        if now.applied_index > now.commit_index:
            raise InvariantBroken("monotony", f"{now.node} applied {now.applied_index} > committed {now.commit_index}")
        if before is None or before.incarnation != now.incarnation:
            return
        if now.term < before.term or now.commit_index < before.commit_index or now.applied_index < before.applied_index:
            raise InvariantBroken("monotony", f"{before} became {now}")

    def recovered(
        self,
        node: str,
        durable: tuple[int, str | None, int, int],
        term: int,
        voted_for: str | None,
        last_index: int,
        term_at: Callable[[int], int | None],
    ) -> None:
        """`node` restarted; `durable` is (term, vote, last index, its term) as it was promised to be on its disk."""
        old_term, old_vote, old_index, old_index_term = durable
        if term < old_term:
            raise InvariantBroken("monotony", f"{node} restarted in term {term}, term {old_term} was durable")
        if term == old_term and old_vote is not None and voted_for != old_vote:
            raise InvariantBroken(
                "monotony", f"{node} voted for {old_vote} in term {term}, and after a restart for {voted_for}"
            )
        # A later truncation may have reached the disk although its sync never returned.
        if last_index < old_index and self.is_committed(old_index, old_index_term):
            raise InvariantBroken(
                "monotony", f"{node} restarted with a log up to {last_index}, committed {old_index} was durable"
            )
        if (
            last_index >= old_index
            and term_at(old_index) not in (None, old_index_term)
            and self.is_committed(old_index, old_index_term)
        ):
            raise InvariantBroken("monotony", f"{node} restarted with another entry {old_index} than was durable")

    def is_committed(self, index: int, term: int) -> bool:
        """Whether the entry `index` of `term` is known to be committed."""
        return index == 1 or (index <= self.commit_index and self.committed[index - 2][2] == term)
