"""A small replicated store on virtual time, correct unless one of its bugs is switched on: it makes histories.

Raft in a few lines: elections, a log that followers copy, commit by majority, reads confirmed by a majority, vote and
log on a disk that forgets what was not synced. No part of the product is in it: what the checkers say of its histories
must not depend on the code that they are there to check. `small_runs.py` puts clients and faults to it.
"""

import heapq
import random
from collections.abc import Callable
from typing import NamedTuple

from tests.support.small_state import BUGS, Answer, Entry, State

HEARTBEAT_MS = 12.0
ELECTION_MS = 70.0
STEP_DOWN_MS = 350.0
BATCHES = (1, 1, 1, 6)


class Clock:
    """Virtual milliseconds, and what is to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def after(self, ms: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (self.now + ms, self._count, action))

    def run_until(self, end: float) -> None:
        while self._due and self._due[0][0] <= end:
            self.now, _, action = heapq.heappop(self._due)
            action()
        self.now = end


class Told(NamedTuple):
    """What a leader says with every message: up to where it has committed, its round, and how fresh that is."""

    commit: int
    round: int
    fresh: float


class Node:
    """One member. What is on its disk: `log` up to `synced`, `term`, `voted_for`, `synced_commit`."""

    def __init__(self, name: str, cluster: "Cluster") -> None:
        self.name, self.cluster = name, cluster
        self.log: list[Entry] = []
        self.synced = 0
        self.synced_commit = 0
        self.term = 0
        self.voted_for: str | None = None
        self.up = True
        self.life = 0
        self.deviates = False
        self.start()

    def start(self) -> None:
        """Begin, or begin again, from the disk."""
        self.up, self.role, self.leader = True, "follower", None
        self.life += 1
        self.commit = self.applied = 0
        self.state = State()
        self.votes: set[str] = set()
        self.heard = self.cluster.clock.now
        self.fresh = -1e9  # the moment of which it knows what was committed
        self.waiting: dict[int, tuple[int, Answer, str]] = {}
        self.digests: dict[int, int] = {}
        self.commit_to(min(self.synced_commit, len(self.log)), replayed=True)
        self.wait_for_leader()

    def stop(self, *, power: bool) -> None:
        """Killed; with `power` what was not synced is gone too."""
        if not self.up:
            return
        self.up = False
        self.role = "follower"
        if power:
            del self.log[self.synced :]
        self.synced = len(self.log)
        if self.cluster.bug == "lost tail after restart":
            del self.log[max(0, len(self.log) - 3) :]
            self.synced = len(self.log)
        if self.cluster.bug == "vote forgotten":
            self.voted_for = None

    def later(self, ms: float, action: Callable[[], None]) -> None:
        """After a while, if it still runs and was not restarted."""
        life = self.life
        self.cluster.clock.after(ms, lambda: action() if self.up and self.life == life else None)

    # Elections.

    def wait_for_leader(self) -> None:
        patience = self.cluster.chance.uniform(ELECTION_MS, 2 * ELECTION_MS)

        def look() -> None:
            if self.role == "leader" or self.cluster.clock.now - self.heard < patience:
                self.wait_for_leader()
            else:
                self.campaign()

        self.later(max(1.0, self.heard + patience - self.cluster.clock.now), look)

    def campaign(self) -> None:
        self.role, self.leader, self.heard = "candidate", None, self.cluster.clock.now
        self.term, self.voted_for, self.votes = self.term + 1, self.name, {self.name}
        term, last = self.term, self.last()
        for other in self.others():
            self.send(other, lambda other=other: other.on_vote_request(self, term, last))
        self.win_if_elected()
        self.wait_for_leader()

    def last(self) -> tuple[int, int]:
        return (self.log[-1].term if self.log else 0, len(self.log))

    def on_vote_request(self, candidate: "Node", term: int, last: tuple[int, int]) -> None:
        self.see_term(term)
        granted = term == self.term and self.voted_for in (None, candidate.name) and last >= self.last()
        if granted:
            self.voted_for, self.heard = candidate.name, self.cluster.clock.now
            for told in list(self.cluster.on_vote):
                told(self)
        mine = self.term
        self.send(candidate, lambda: candidate.on_vote(self, mine, granted))

    def on_vote(self, voter: "Node", term: int, granted: bool) -> None:
        self.see_term(term)
        if granted and self.role == "candidate" and term == self.term:
            self.votes.add(voter.name)
            self.win_if_elected()

    def win_if_elected(self) -> None:
        if self.role == "candidate" and len(self.votes) >= self.cluster.majority:
            self.role, self.leader = "leader", self
            for told in list(self.cluster.on_leader):
                told(self)
            self.match = {node.name: 0 for node in self.others()}
            self.round = 0
            self.confirmed = {node.name: 0 for node in self.others()}
            self.confirmed_at = {node.name: self.cluster.clock.now for node in self.others()}
            self.sent_at = {0: self.cluster.clock.now}
            self.all_applied = {node.name: 0 for node in self.others()}
            self.propose(Entry(self.term, ("noop", self.term, self.name), "noop", "", None), None, "quorum")
            self.beat(self.term)

    def see_term(self, term: int) -> None:
        if term > self.term:
            self.term, self.voted_for, self.role, self.leader = term, None, "follower", None

    # Replication.

    def propose(self, entry: Entry, answer: Answer | None, level: str) -> None:
        if self.cluster.bug == "cross-key swap" and self.log and len(self.log) > self.commit:
            other = self.log[-1]
            if other.f == entry.f == "write" and other.key != entry.key and entry.odd < 0.6:
                other.value, entry.value = entry.value, other.value
        self.log.append(entry)
        if answer is not None:
            self.waiting[len(self.log)] = (self.term, answer, level)
        length = len(self.log)
        self.later(self.cluster.sync_ms(), lambda: self.on_synced(length, entry))
        if self.cluster.bug == "lost acknowledged write":
            self.acknowledge_early()
        self.replicate()

    def acknowledge_early(self) -> None:
        """The bug: the leader's own copy is taken to be enough."""
        for index in sorted(self.waiting):
            if (
                self.applied < index <= len(self.log)
                and self.waiting[index][2] != "all"
                and self.log[index - 1].f != "cas"
            ):
                _, answer, _ = self.waiting.pop(index)
                ahead = State()
                for entry in self.log[:index]:
                    result = ahead.apply(entry, "", replayed=False, deviates=False)
                answer(*result)

    def on_synced(self, length: int, entry: Entry) -> None:
        if length <= len(self.log) and self.log[length - 1] is entry:
            self.synced = max(self.synced, length)
        self.advance()

    def on_commit_synced(self, commit: int) -> None:
        self.synced_commit = max(self.synced_commit, commit)
        self.advance()

    def beat(self, term: int) -> None:
        if self.role != "leader" or self.term != term:
            return
        now = self.cluster.clock.now
        alive = 1 + sum(now - at < STEP_DOWN_MS for at in self.confirmed_at.values())
        if alive < self.cluster.majority and self.cluster.bug != "two leaders acknowledging":
            self.role, self.heard = "follower", now
            return
        self.replicate()
        self.later(HEARTBEAT_MS, lambda: self.beat(term))

    def replicate(self) -> None:
        """To each what it has and a few entries more."""
        self.round += 1
        self.sent_at[self.round] = self.cluster.clock.now
        told = Told(self.commit, self.round, self.fresh)
        for other in self.others():
            self.append_to(other, self.common(other), told)

    def common(self, other: "Node") -> int:
        """How many entries it has of ours; in the paper the two find out by asking."""
        low, high = 0, min(len(self.log), len(other.log))
        while low < high:
            middle = (low + high + 1) // 2
            if self.log[middle - 1] is other.log[middle - 1]:
                low = middle
            else:
                high = middle - 1
        return low

    def append_to(self, other: "Node", prev: int, told: Told) -> None:
        term, entries = self.term, self.log[prev : prev + self.cluster.chance.choice(BATCHES)]
        before = self.log[prev - 1] if prev > 0 else None
        self.send(other, lambda: other.on_append(self, term, prev, before, entries, told))

    def on_append(
        self, leader: "Node", term: int, prev: int, before: Entry | None, entries: list[Entry], told: Told
    ) -> None:
        self.see_term(term)
        if term < self.term:
            mine = self.term
            self.send(leader, lambda: leader.see_term(mine))
            return
        if self.role != "leader":
            self.role = "follower"
        self.leader, self.heard = leader, self.cluster.clock.now
        if prev > len(self.log) or (prev > 0 and self.log[prev - 1] is not before):
            return
        length = prev + len(entries)
        if self.log[prev:length] != entries:
            same = prev
            while same < min(length, len(self.log)) and self.log[same] is entries[same - prev]:
                same += 1
            self.log = [*self.log[:prev], *entries]
            self.synced = min(self.synced, same)
        self.commit_to(min(told.commit, length))
        if told.commit <= length:
            self.fresh = max(self.fresh, told.fresh)
        wait = 0.0 if self.synced >= length and self.synced_commit >= self.commit else self.cluster.sync_ms()
        if self.cluster.bug == "acknowledged before fsync":
            self.answer_append(leader, term, length, told.round)
        self.later(wait, lambda: self.on_append_synced(leader, term, length, told.commit, told.round))

    def on_append_synced(self, leader: "Node", term: int, length: int, commit: int, number: int) -> None:
        if term == self.term:
            self.synced = max(self.synced, length)
            self.synced_commit = max(self.synced_commit, min(commit, length))
            self.answer_append(leader, term, length, number)

    def answer_append(self, leader: "Node", term: int, length: int, number: int) -> None:
        covered = min(self.synced_commit, self.applied)
        self.send(leader, lambda: leader.on_appended(self, term, length, number, covered))

    def on_appended(self, follower: "Node", term: int, length: int, number: int, covered: int) -> None:
        if self.role != "leader" or term != self.term:
            return
        name = follower.name
        self.match[name] = max(self.match[name], length)
        self.all_applied[name] = max(self.all_applied[name], covered)
        self.confirmed[name] = max(self.confirmed[name], number)
        self.confirmed_at[name] = self.cluster.clock.now
        if self.match[name] < len(self.log) and number == self.round:
            self.replicate()
        self.advance()

    def settled(self) -> bool:
        """Whether it has committed an entry of its own term. With some bugs the log ends below the commit index."""
        return 0 < self.commit <= len(self.log) and self.log[self.commit - 1].term == self.term

    def advance(self) -> None:
        """The commit index of a leader."""
        if self.role != "leader":
            return
        early = self.cluster.bug == "acknowledged before fsync"
        copies = sorted([len(self.log) if early else self.synced, *self.match.values()], reverse=True)
        needed = self.cluster.majority
        if self.cluster.bug == "two leaders acknowledging":
            now = self.cluster.clock.now
            needed = min(needed, 1 + sum(now - at < ELECTION_MS for at in self.confirmed_at.values()))
        index = copies[needed - 1]
        own_term = 0 < index <= len(self.log) and self.log[index - 1].term == self.term
        if index > self.commit and (own_term or self.cluster.bug == "commit of an older term's entry"):
            self.commit_to(index)
            self.later(self.cluster.sync_ms(), lambda: self.on_commit_synced(index))
            self.replicate()
        majority = sorted([self.round, *self.confirmed.values()], reverse=True)[self.cluster.majority - 1]
        if self.settled():
            self.fresh = max(self.fresh, self.sent_at[majority])
        self.answer_all()

    def answer_all(self) -> None:
        """Writes at ALL whose entry every node has, durably."""
        counts = sorted([min(self.applied, self.synced_commit), *self.all_applied.values()])
        everywhere = counts[1 if self.cluster.bug == "ALL acknowledged at n-1" else 0]
        for index in [index for index in self.waiting if index <= everywhere]:
            term, answer, _ = self.waiting.pop(index)
            if index <= len(self.log) and self.log[index - 1].term == term:
                answer(*self.state.results.get(self.log[index - 1].id, ("ok",)))

    def commit_to(self, index: int, *, replayed: bool = False) -> None:
        self.commit = max(self.commit, min(index, len(self.log)))
        while self.applied < self.commit:
            entry = self.log[self.applied]
            result = self.state.apply(entry, self.cluster.bug, replayed=replayed, deviates=self.deviates)
            self.applied += 1
            if self.applied % 4 == 0:
                self.digests[self.applied] = self.state.digest()
            waiter = self.waiting.get(self.applied)
            if waiter is None:
                continue
            term, answer, level = waiter
            if term != entry.term:
                del self.waiting[self.applied]
                answer("fail", "discarded")
            elif level != "all" or result[0] == "fail":
                del self.waiting[self.applied]
                answer(*result)

    # Reads.

    def read(self, key: str, answer: Answer) -> None:
        """Linearizable: the leader confirms that it leads after the read came, then answers what it has applied."""
        if self.cluster.bug == "stale read":
            self.answer_read(key, answer)
            return
        if not self.settled():
            self.later(4.0, lambda: self.read(key, answer) if self.role == "leader" else None)
            return
        self.replicate()
        number, index, term = self.round, self.commit, self.term

        def look() -> None:
            if self.role != "leader" or self.term != term:
                return
            if 1 + sum(got >= number for got in self.confirmed.values()) >= self.cluster.majority >= 1:
                assert self.applied >= index
                self.answer_read(key, answer)
            else:
                self.later(1.0, look)

        self.later(1.0, look)

    def answer_read(self, key: str, answer: Answer) -> None:
        value, revision, version = self.state.records.get(key, (None, None, None))
        if self.cluster.bug == "dirty read of a failed write" and value is not None:
            value = self.state.dirty.get(key, value)
        answer("ok", revision, version, value)

    def read_here(self, key: str, asked: int | None, age_ms: float | None, answer: Answer) -> None:
        """Level ONE: at once, or once the state is new enough."""
        behind = asked is not None and self.state.revision < asked and self.cluster.bug != "non-monotonic session"
        if behind or (age_ms is not None and self.cluster.clock.now - self.fresh > age_ms and self.role != "leader"):
            self.later(2.0, lambda: self.read_here(key, asked, age_ms, answer))
        elif age_ms is not None and self.role == "leader":
            self.read(key, answer)
        else:
            value, revision, version = self.state.records.get(key, (None, None, None))
            answer("ok", revision, version, value)

    def others(self) -> list["Node"]:
        return [node for node in self.cluster.nodes if node is not self]

    def send(self, to: "Node", action: Callable[[], None]) -> None:
        """A message: late now and then, lost if a link is cut or the receiver is down when it would arrive."""

        def arrive() -> None:
            if to.up and self.cluster.linked(self, to):
                action()

        if self.cluster.linked(self, to):
            chance = self.cluster.chance
            late = self.cluster.clock.now < self.cluster.late_until or chance.random() < 0.05
            self.cluster.clock.after(chance.uniform(5, 40) if late else chance.uniform(0.5, 3), arrive)


class Cluster:
    """The nodes, the links between them, and the one bug."""

    def __init__(self, chance: random.Random, count: int, bug: str = "") -> None:
        assert bug in ("", *BUGS)
        self.clock, self.chance, self.bug = Clock(), chance, bug
        self.majority = count // 2 + 1
        self.cut_off: set[str] = set()
        self.on_leader: list[Callable[[Node], None]] = []
        self.on_vote: list[Callable[[Node], None]] = []
        self.sides: dict[str, str] = {}
        self.slow_until = 0.0  # until then every disk is slow
        self.late_until = 0.0  # and every message late
        self.nodes: list[Node] = []
        for number in range(count):
            self.nodes.append(Node(f"n{number + 1}", self))
        self.nodes[-1].deviates = True

    def linked(self, a: Node, b: Node) -> bool:
        """Those that are cut off reach nobody, those of one side not the other one; clients reach everybody."""
        sides = {self.sides.get(a.name), self.sides.get(b.name)} - {None}
        return a.name not in self.cut_off and b.name not in self.cut_off and len(sides) < 2

    def sync_ms(self) -> float:
        slow = self.clock.now < self.slow_until or self.chance.random() < 0.05
        return self.chance.uniform(15, 60) if slow else self.chance.uniform(0.5, 4)

    def leader(self) -> Node | None:
        """Who leads the highest term, of those that run."""
        leaders = [node for node in self.nodes if node.up and node.role == "leader"]
        return max(leaders, key=lambda node: node.term, default=None)
