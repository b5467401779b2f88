"""A small cluster of members in one process, stepped by hand: virtual time, single messages, disks in memory.

For directed schedules: a test decides which message arrives when, and which disk fails.
"""

import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from typing import Any

from kvstore.consensus import membership
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.configuration import Member as Seat
from kvstore.consensus.context import RaftSettings
from kvstore.consensus.engine import Peer, ProposalDone
from kvstore.consensus.journal import Journal
from kvstore.consensus.member import Member
from kvstore.consensus.messages import Call, Message, Return
from kvstore.consensus.snapshots import SnapshotStore
from tests.support.crash_disk import CrashDisk


class _Timer:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at, self.callback, self.cancelled = at, callback, False

    def cancel(self) -> None:
        self.cancelled = True


class LabNode:
    """One member with its host, loop, clock and transport, all by hand. `joins`: it begins as a learner."""

    def __init__(self, lab: "Lab", name: str, disk: CrashDisk, *, joins: bool = False) -> None:
        self.lab, self.name, self.disk = lab, name, disk
        self.soon: deque[Callable[[], None]] = deque()
        self.timers: list[_Timer] = []
        self.queue: list[tuple[bytes, ProposalDone]] = []
        self.log: list[bytes] = []
        self.error: Exception | None = None
        self.slow_disk = False  # what is begun beside the loop ends with `finish`
        self.under_way: tuple[Callable[[], None], Callable[[OSError | None], None]] | None = None
        self.journal = Journal.open(disk, "/journal", segment_bytes=lab.segment_bytes)
        seats = tuple(Seat(each, "", "", not joins or each != name, "") for each in sorted({*lab.names, name}))
        initial = Configuration(0 if joins else 1, seats)
        self.journal.set_configuration(membership.folded(self.journal.entries, initial))
        self.journal.sync()
        self.snapshots = SnapshotStore(disk, "/snapshots")
        self.member = Member(
            name=name,
            settings=RaftSettings(),
            clock=lab,
            rng=random.Random(name),
            loop=self,
            journal=self.journal,
            snapshots=self.snapshots,
            host=self,
            applied_index=1,
            initial=initial,
            beside=self,
            synced=lambda _seconds: None,
        )

    # loop

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Timer:
        timer = _Timer(self.lab.now + delay, callback)
        self.timers.append(timer)
        return timer

    def run(self) -> None:
        """Everything that is due now."""
        due = [timer for timer in self.timers if timer.at <= self.lab.now]
        self.timers = [timer for timer in self.timers if timer.at > self.lab.now]
        for timer in due:
            if not timer.cancelled:
                timer.callback()
        while self.soon:
            self.soon.popleft()()

    # disk beside the loop

    def start(self, work: Callable[[], None], done: Callable[[OSError | None], None]) -> None:
        assert self.under_way is None
        self.under_way = (work, done)
        if not self.slow_disk:
            self.soon.append(self.finish)

    def finish(self) -> None:
        if self.under_way is None:
            return
        (work, done), self.under_way = self.under_way, None
        try:
            work()
        except OSError as error:
            done(error)
        else:
            done(None)

    # transport

    def send(self, peer: str, message: Message) -> bool:
        self.lab.wires[self.name, peer].append(message)
        return True

    def peer(self, name: str) -> Peer | None:
        return Peer(name, "", 1, "")

    # host

    def apply(self, index: int, term: int, command: bytes) -> Any:
        self.log.append(command)
        return command

    def skip(self, index: int, term: int) -> None:
        pass

    def applied(self, index: int) -> None:
        pass

    def proposals(self, *, full: bool) -> list[tuple[bytes, ProposalDone]]:
        """What was proposed; while storage is full, only what begins like a delete. At most half a segment a step, as
        in production.
        """
        taken: list[tuple[bytes, ProposalDone]] = []
        left: list[tuple[bytes, ProposalDone]] = []
        size = 0
        for command, done in self.queue:
            refused = full and not command.startswith(b"delete")
            size += 0 if refused else len(command)
            (left if refused or size > self.lab.segment_bytes // 2 else taken).append((command, done))
        self.queue = left
        if size > self.lab.segment_bytes // 2:
            self.member.kick()
        return taken

    def restore(self, frames: Iterator[bytes]) -> None:
        raise AssertionError("no snapshots here")

    def configuration_changed(self) -> None:
        pass

    def leadership_changed(self) -> None:
        pass

    def call(self, peer: str, message: Call | Return) -> None:
        pass

    def peer_gone(self, peer: str) -> None:
        pass

    def failed(self, error: Exception) -> None:
        self.error = error

    def propose(self, command: bytes) -> list[Any]:
        """Queue `command`; the list gets its outcome."""
        outcome: list[Any] = []
        self.queue.append((command, lambda result, _index, error: outcome.append(error or result)))
        self.member.kick()
        self.run()
        return outcome


class Lab:
    """The cluster. `wires[a, b]` holds what a has sent to b and what has not been delivered yet."""

    def __init__(self, *names: str, segment_bytes: int = 1 << 20) -> None:
        self.names = names
        self.segment_bytes = segment_bytes
        self.now = 100.0
        self.wires: dict[tuple[str, str], deque[Message]] = defaultdict(deque)
        self.nodes = {name: LabNode(self, name, CrashDisk()) for name in names}
        for node in self.nodes.values():
            node.member.start(node)
            for other in names:
                if other != node.name:
                    node.member.peer_connected(Peer(other, "", 1, "", has_log=False))
            node.run()

    def join(self, name: str) -> LabNode:
        """Start a node that is no member yet, connected to everybody."""
        node = self.nodes[name] = LabNode(self, name, CrashDisk(), joins=True)
        node.member.start(node)
        for other in list(self.nodes.values()):
            if other is not node:
                node.member.peer_connected(Peer(other.name, "", 1, ""))
                other.member.peer_connected(Peer(name, "", 1, ""))
        return node

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return int(self.now * 1000)

    def deliver(self, *pairs: tuple[str, str]) -> bool:
        """Deliver one message on each of these wires (all of them by default); whether there was any."""
        found = False
        for source, target in pairs or list(self.wires):
            if self.wires[source, target]:
                found = True
                self.nodes[target].member.peer_message(source, self.wires[source, target].popleft())
                self.nodes[target].run()
        return found

    def settle(self, *cut: str) -> None:
        """Deliver everything, but lose what goes to or comes from the nodes in `cut`."""
        while True:
            for (source, target), wire in self.wires.items():
                if source in cut or target in cut:
                    wire.clear()
            if not self.deliver():
                return

    def advance(self, seconds: float, *cut: str, step: float = 0.01) -> None:
        """Let time pass, everything being delivered at once, the nodes in `cut` cut off."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for node in self.nodes.values():
                node.run()
            self.settle(*cut)

    def elect(self) -> LabNode:
        """Wait until there is one leader and everything is quiet."""
        for _ in range(50):
            self.advance(0.1)
            leaders = self.leaders()
            if len(leaders) == 1:
                return leaders[0]
        raise AssertionError("nobody was elected")

    def leaders(self) -> list[LabNode]:
        return [node for node in self.nodes.values() if node.member.leads]
