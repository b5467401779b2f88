"""What may be asked of a member at any time and changes nothing: its view of itself and of the others."""

from kvstore.clock import Clock
from kvstore.consensus.configuration import Configuration
from kvstore.consensus.context import Context, RaftSettings
from kvstore.consensus.engine import Peer, Status
from kvstore.consensus.following import Following
from kvstore.consensus.founding import Founding
from kvstore.consensus.journal import Journal
from kvstore.consensus.leading import Leadership
from kvstore.consensus.raft import ROLE_NAMES, Core
from kvstore.consensus.seats import Seats


class Outlook:
    """The reading half of `Member`, which sets all of these. `leadership` is there exactly while this node leads."""

    name: str
    leadership: Leadership | None
    _settings: RaftSettings
    _clock: Clock
    _context: Context
    _core: Core
    _following: Following
    _journal: Journal
    _seats: Seats
    _founding: Founding
    _stopped: bool
    _reads_before: tuple[int, int]

    def _enter(self) -> None:
        """Set the time for what follows."""
        self._context.now_s = self._clock.monotonic()
        self._core.at(self._context.now_s)

    @property
    def configuration(self) -> Configuration:
        """The configuration in effect."""
        return self._journal.configuration

    @property
    def leads(self) -> bool:
        """Whether this node believes to lead; only a ReadIndex round proves it."""
        return self.leadership is not None

    @property
    def leader(self) -> str | None:
        """The leader of the present term, as far as known; none for a member that has stopped."""
        return None if self._stopped else self._core.leader

    @property
    def term(self) -> int:
        """Current term."""
        return self._core.term

    @property
    def applied_index(self) -> int:
        """Highest index applied."""
        return self._core.applied_index

    @property
    def has_log(self) -> bool:
        """Whether the log holds anything that a leader has put there."""
        return self._journal.entries[-1][1] > 1

    @property
    def founds(self) -> bool:
        """Whether this node began with an empty directory, like all other first members; see Founding."""
        return self._founding.founds

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Whom this node has to hear from before it takes part in the first election of a new cluster (M6)."""
        return self._founding.waits_for

    @property
    def dropped_total(self) -> int:
        """Messages that a rule refused."""
        return self._context.dropped_total

    def staleness_s(self) -> float:
        """How old the applied state may be at most: nothing acknowledged longer ago is missing from it. Infinity if
        that is not known.
        """
        self._enter()
        core = self._core
        if self.leadership is None:
            return self._context.now_s - self._following.freshness.as_of(core.applied_index)
        if core.applied_index < core.commit_index:
            return float("inf")
        return self._context.now_s - self.leadership.confirmed_s()

    def reads_served(self) -> tuple[int, int]:
        """(ReadIndex rounds begun, reads that they confirmed) by this node as leader, since its start."""
        rounds, reads = self._reads_before
        if self.leadership is None:
            return rounds, reads
        return rounds + self.leadership.reads.round, reads + self.leadership.reads.reads_total

    def status(self) -> Status:
        """Role, indices and progress."""
        core, lead = self._core, self.leadership
        return Status(
            ROLE_NAMES[core.role],
            core.leader,
            core.term,
            core.commit_index,
            core.applied_index,
            self._journal.entries[-1][1],
            {peer: core.match(peer) for peer in lead.progress} if lead else {},
            {peer: progress.applied for peer, progress in lead.progress.items()} if lead else {},
        )

    def storage_full(self) -> bool:
        """Whether, as far as this leader knows, a majority has no room for more entries."""
        return self.leadership is not None and self.leadership.storage_full

    @property
    def full(self) -> bool:
        """Whether this node has no room for new entries."""
        return self._context.full

    def configuration_at(self, index: int) -> Configuration:
        """The configuration that was in effect at log index `index`, for a snapshot that ends there."""
        return self._seats.at(index)

    def holders(self, index: int) -> int:
        """How many voters are known to hold `index` durably."""
        peers = self.leadership.peers if self.leadership else []
        return (self._journal.durable_index >= index) + sum(self._core.match(peer) >= index for peer in peers)

    def behind(self, index: int) -> list[str]:
        """Voters that are not known to have applied `index` and made its commit durable."""
        return self.leadership.behind(index) if self.leadership else list(self._context.voters)

    def unreachable(self) -> list[str]:
        """Voters without a connection, or (on the leader) without an answer for an election timeout."""
        others = [name for name in self._context.voters if name != self.name]
        lead, patience = self.leadership, self._settings.election_s_min
        self._enter()
        return [
            name
            for name in others
            if self._context.transport.peer(name) is None or (lead is not None and lead.lag_s(name) > patience)
        ]

    def answers(self, name: str) -> bool:
        """Whether this leader is connected to `name` and has heard from it within an election timeout, in answer to
        something that it sent since it leads and `name` is a member.
        """
        self._enter()
        lead = self.leadership
        return (
            lead is not None
            and lead.has_answered(name)
            and self._context.transport.peer(name) is not None
            and lead.lag_s(name) <= self._settings.election_s_min
        )

    def peer(self, name: str) -> Peer | None:
        """The handshake of the present outgoing connection to `name`."""
        return self._context.transport.peer(name)
