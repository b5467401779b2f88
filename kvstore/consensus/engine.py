"""The seams of consensus, as narrow protocols: what the engine needs from the loop, the network and the service layer,
and what the service layer may ask of it. The engine itself (`member.py` on `raft.py`) has no socket, no clock and no
thread.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

from kvstore.consensus.configuration import Configuration, Member
from kvstore.consensus.messages import CALLS, Call, Message, Return
from kvstore.errors import KvError
from kvstore.model.features import LEVEL

# What applying returned, the log index, and an error instead if it was not (known to be) applied. Called exactly once.
ProposalDone = Callable[[Any, int, KvError | None], None]
# The read index, or 0 and an error. Called exactly once.
ReadDone = Callable[[int, KvError | None], None]
# None once every voter has what level ALL promises, or an error. Called exactly once.
AllDone = Callable[[KvError | None], None]


class Peer(NamedTuple):
    """Who is at the other end of a connection, as its handshake said. `address` is where it can be dialed; `has_log`
    whether its log held anything at that moment; `features` what it knows (kvstore.model.features),
    `calls` how far its calls go (messages.CALLS).
    """

    name: str
    identity: str
    incarnation: int
    http: str
    address: str = ""
    has_log: bool = True
    features: int = LEVEL
    calls: int = CALLS


class Transport(Protocol):
    """Sends to peers. One connection for each direction; FIFO within a connection; nothing survives a reconnect."""

    def send(self, peer: str, message: Message) -> bool:
        """Hand over `message`. False if there is no connection, or its bounded buffer is full and it was therefore
        cut.
        """

    def peer(self, name: str) -> Peer | None:
        """The handshake of the present outgoing connection to `name`, or None while there is none."""


class TransportEvents(Protocol):
    """What the transport tells its owner, always from the event loop, never from inside `send`."""

    def peer_connected(self, peer: Peer) -> None:
        """Messages to `peer` can be sent from now on."""

    def peer_disconnected(self, name: str) -> None:
        """The outgoing connection is gone, with whatever was on it."""

    def peer_lost(self, name: str) -> None:
        """The incoming connection was closed by the other side: its process has probably ended."""

    def peer_message(self, name: str, message: Message) -> None:
        """A validated message, in the order in which it was sent on its connection."""


class Loop(Protocol):
    """What a member needs of an event loop; asyncio's has it, a simulator's too."""

    def call_soon(self, callback: Callable[[], None]) -> Any:
        """Run after the present callback."""

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        """Run after `delay` seconds; the answer can be cancelled."""


class Host(Protocol):
    """The service layer above a member. All calls on the event loop, from inside a step: none may enter the member
    again.
    """

    def apply(self, index: int, term: int, command: bytes) -> Any:
        """Apply a regular entry; the return value goes to whoever proposed it here. An exception stops the node."""

    def skip(self, index: int, term: int) -> None:
        """An entry that changes nothing in the state."""

    def applied(self, index: int) -> None:
        """Everything up to `index` has been applied."""

    def proposals(self, *, full: bool) -> list[tuple[bytes, ProposalDone]]:
        """Commands to append now; asked only while this node leads. `full`: only such as free room on disk."""

    def restore(self, frames: Iterator[bytes]) -> None:
        """Replace the state by a snapshot's."""

    def configuration_changed(self) -> None:
        """Another configuration is in effect."""

    def leadership_changed(self) -> None:
        """Role, term or known leader changed."""

    def call(self, peer: str, message: Call | Return) -> None:
        """A message of a peer's service layer."""

    def peer_gone(self, peer: str) -> None:
        """A connection from or to `peer` ended: answers that were under way may never come."""

    def failed(self, error: Exception) -> None:
        """This member has stopped for good."""


class Objection(NamedTuple):
    """Why a change of members cannot begin; `passes` if it only cannot begin yet."""

    text: str
    passes: bool


class Status(NamedTuple):
    """A moment's view of the engine. `match` and `applied` are empty unless this node leads."""

    role: str
    leader: str | None
    term: int
    commit_index: int
    applied_index: int
    last_index: int
    match: dict[str, int]
    applied: dict[str, int]


class Engine(Protocol):
    """What the service layer asks of consensus."""

    name: str

    @property
    def configuration(self) -> Configuration:
        """The configuration in effect."""

    @property
    def leads(self) -> bool:
        """Whether this node believes to lead; only a ReadIndex round proves it."""

    @property
    def leader(self) -> str | None:
        """The leader of the present term, as far as known."""

    @property
    def applied_index(self) -> int:
        """Highest index applied."""

    @property
    def founds(self) -> bool:
        """Whether this node began, in this life, with an empty directory like all other first members."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Whom this node has to hear from before it takes part in the first election of a new cluster."""

    def status(self) -> Status:
        """Role, indices and progress, for people and for decisions that may be stale."""

    def kick(self) -> None:
        """There are proposals to take in."""

    def holders(self, index: int) -> int:
        """How many voters are known to hold `index` durably."""

    def read_index(self, done: ReadDone) -> None:
        """Confirm this leadership after now."""

    def tell_commit(self) -> None:
        """A follower is to hear of the commit index now, and not with the next entries, if this node leads."""

    def staleness_s(self) -> float:
        """How old the applied state may be at most; infinity if that is not known."""

    def when_fresher(self, than_s: float, done: Callable[[], None]) -> None:
        """Tell when the applied state is at most `than_s` old."""

    def forget_fresher(self, done: Callable[[], None]) -> None:
        """Nobody waits for that any more."""

    def when_all_have(self, index: int, done: AllDone) -> None:
        """Tell when every voter has applied `index` and made a commit index that covers it durable."""

    def change(self, members: tuple[Member, ...], done: ProposalDone) -> Objection | None:
        """Append a configuration with these members, effective at once; why not, if it cannot begin."""

    def storage_full(self) -> bool:
        """Whether, as far as this leader knows, a majority has no room for more entries."""

    def transfer(self, target: str | None, done: AllDone) -> None:
        """Hand leadership to `target`, or to whom is most current; told None once this node leads no more."""

    def behind(self, index: int) -> list[str]:
        """Voters that are not known to have that."""

    def unreachable(self) -> list[str]:
        """Voters without a connection, or (on the leader) without an answer for an election timeout."""

    def answers(self, name: str) -> bool:
        """Whether this leader is connected to `name` and has heard from it within an election timeout, in answer to
        something that it sent since it leads and `name` is a member.
        """

    def peer(self, name: str) -> Peer | None:
        """The handshake of the present outgoing connection to `name`, or None while there is none."""

    def send(self, peer: str, message: Call | Return) -> bool:
        """A message to another service layer; False if there is no connection."""
