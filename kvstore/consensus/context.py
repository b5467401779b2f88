"""What the parts of one member share while a step runs: identity, settings, the engine, the journal and the outbox."""

from typing import NamedTuple

import msgspec

from kvstore import limits
from kvstore.consensus.engine import Transport
from kvstore.consensus.freshness import TokenClock
from kvstore.consensus.journal import Journal
from kvstore.consensus.messages import AppendReply, Message
from kvstore.consensus.raft import Core
from kvstore.consensus.snapshots import SnapshotStore
from kvstore.telemetry.trace import Trace, untraced


class RaftSettings(NamedTuple):
    """Times in seconds, sizes in bytes. Local configuration: nothing that `apply` reads. `bootstrap_incomplete`: see
    founding.py.
    """

    heartbeat_s: float = 0.05
    election_s_min: float = 0.3
    election_s_max: float = 0.5
    snapshot_log_bytes: int = 32 << 20
    log_keep_bytes: int = 8 << 20
    bootstrap_incomplete: bool = False


class Context:
    """Shared by `Member`, `Elections`, `Following` and `Leadership`. `now_s` is set at the start of each step."""

    def __init__(self, name: str, settings: RaftSettings, journal: Journal, snapshots: SnapshotStore) -> None:
        self.name = name
        self.settings = settings
        self.journal = journal
        self.snapshots = snapshots
        self.transport: Transport  # set when the member starts
        self.core: Core
        self.tokens: TokenClock
        self.now_s = 0.0
        self.dropped_total = 0
        self.trace: Trace = untraced
        self.engine_accepted = False
        self.full = False
        self.reserve_used = False
        # The largest entry, a quarter of a segment; tiny segments have tiny bursts.
        self.burst_bytes = min(limits.ENTRY_BYTES_MAX, journal.segment_bytes // 4)
        self._held: list[tuple[str, int, Message]] = []

    @property
    def voters(self) -> tuple[str, ...]:
        """Names of the voters of the configuration in effect."""
        return self.journal.configuration.voters

    @property
    def others(self) -> list[str]:
        """Names of the other members, learners too."""
        return [name for name in self.journal.configuration.names if name != self.name]

    @property
    def last(self) -> tuple[int, int]:
        """(term, index) of the last entry: compares as Raft 5.4.1 compares logs."""
        _, index, term = self.journal.entries[-1]
        return term, index

    def send(self, peer: str, message: Message) -> None:
        """Send at once: only what promises nothing that a crash could take back."""
        self.transport.send(peer, message)

    def hold(self, peer: str, message: Message) -> None:
        """Send after this step's fsync, unless the term has moved by then."""
        self._held.append((peer, self.core.term, message))

    @property
    def holds(self) -> bool:
        """Whether something waits for this step's fsync."""
        return bool(self._held)

    def release(self) -> None:
        """The fsync is done: send what was held."""
        held, self._held = self._held, []
        applied, commit_durable = self.core.applied_index, self.journal.durable_commit
        clock = self.tokens.token(self.now_s)
        for peer, term, message in held:
            if term != self.core.term:
                continue
            if isinstance(message, AppendReply):
                message = msgspec.structs.replace(
                    message,
                    applied=applied,
                    commit_durable=commit_durable,
                    room=not self.full,
                    reserve=not self.reserve_used,
                    clock=clock,
                )
            self.transport.send(peer, message)

    def discard(self) -> None:
        """The fsync could not be done: nothing that was held may leave."""
        self._held.clear()

    def look_for_room(self) -> None:
        """Note whether the journal takes a burst without its reserve (`full`), and with it (`reserve_used`)."""
        self.full = not self.journal.room(self.burst_bytes)
        self.reserve_used = not self.journal.fits(self.burst_bytes)

    def drop(self) -> None:
        """Count a message that a rule refused."""
        self.dropped_total += 1
