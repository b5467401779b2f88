"""Promises of the levels switched off, one at a time (docs/consistency.md): the simulator must miss each of them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

from kvstore.consensus.following import Following
from kvstore.consensus.leading import Leadership
from kvstore.consensus.messages import Append
from kvstore.errors import KvError
from kvstore.node.drains import Drains
from kvstore.node.forwarding import Forwarder
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.intents import IntentLog
from kvstore.node.overlay import Overlay
from kvstore.node.reads import QuorumReads
from kvstore.state import changes
from kvstore.state.contents import Contents
from kvstore.state.digest import RawStamp
from kvstore.state.idempotency import IdempotencyKeys
from kvstore.state.origins import Origins, _Runs
from kvstore.state.sessions import Sessions


@contextmanager
def one_before_fsync() -> Iterator[None]:
    """A write at level ONE is acknowledged before it is on the disk."""
    sync = IntentLog._sync

    def synced(self: IntentLog) -> None:
        with mock.patch.object(self._journal, "sync", return_value=None):
            sync(self)

    with mock.patch.object(IntentLog, "_sync", synced):
        yield


@contextmanager
def never_superseded() -> Iterator[None]:
    """A write at level ONE wins, however late it comes."""

    def stamp_of(_contents: Contents, _key: bytes, _record: Any) -> RawStamp:
        return (0, 0, "", 0)

    with mock.patch.object(changes, "stamp_of", stamp_of):
        yield


@contextmanager
def intents_applied_twice() -> Iterator[None]:
    """O2 off: a batch that comes again is applied again."""
    admit = Origins.admit

    def admitted(self: Origins, origin: Any, settings: Any) -> Any:
        known = admit(self, origin, settings)
        if isinstance(known, int) and known > 0:
            node = self._nodes[origin.node]
            node.mark = origin.first_sequence - 1
            # Results are kept in the order of sequences, else no snapshot of them could be read.
            node.drop(origin.epoch)
            node.runs[origin.epoch] = _Runs()
            return 0
        return known

    with mock.patch.object(Origins, "admit", admitted):
        yield


@contextmanager
def pruned_when_sent() -> Iterator[None]:
    """An intent is dropped as soon as the leader has it, not once it is applied here."""
    here = Forwarder._serve

    async def unheard(self: Forwarder, peer: str, body: list[Any]) -> None:
        with suppress(KvError):
            await here(self, peer, body)

    async def served(self: Forwarder, peer: str, body: list[Any]) -> list[Any]:
        if self._site.engine.leads:
            self._site.loop.create_task(unheard(self, peer, body))
            return [0]
        return await here(self, peer, body)

    send = Forwarder._send

    async def sent(self: Forwarder, epoch: int, sequence: int, ops: list[Any]) -> int:
        index = await send(self, epoch, sequence, ops)
        intents = self._intents
        while intents._pending and intents._pending[0][1:3] <= (epoch, sequence + len(ops) - 1):
            intents._drop(intents._pending.popleft())
        intents._journal.set_commit(intents.drained_position)
        return index

    with mock.patch.object(Forwarder, "_serve", served), mock.patch.object(Forwarder, "_send", sent):
        yield


@contextmanager
def no_drain() -> Iterator[None]:
    """Level ALL does not wait for earlier writes at level ONE."""

    async def drained(self: Drains, _at: float, *, read: bool) -> tuple[str, ...]:
        return self._site.engine.configuration.voters

    with mock.patch.object(Drains, "all", drained):
        yield


@contextmanager
def no_overlay() -> Iterator[None]:
    """A read at level ONE does not show what its node has pending."""
    with mock.patch.object(Overlay, "over", return_value=None):
        yield


@contextmanager
def delay_is_free() -> Iterator[None]:
    """A message is taken for as fresh as the moment at which it arrives."""

    def noted(self: Following, message: Append) -> None:
        self.freshness.told(message.commit_index, self._context.now_s - message.majority_age_us / 1e6)

    with mock.patch.object(Following, "_note_freshness", noted):
        yield


@contextmanager
def clock_not_merged() -> Iterator[None]:
    """A node's clock takes no notice of what it applies."""
    with mock.patch.object(HybridClock, "resume", return_value=None):
        yield


@contextmanager
def sessions_without_answers() -> Iterator[None]:
    """S4 off: a repetition in a session is executed again."""
    answer = Sessions.answer

    def answered(self: Sessions, number: int, sequence: int, *others: Any) -> Any:
        session = self._sessions.get(number)
        if session is not None and session.answers.pop(sequence, None) is not None:
            self.answers -= 1
        return answer(self, number, sequence, *others)

    with mock.patch.object(Sessions, "answer", answered):
        yield


@contextmanager
def keys_without_answers() -> Iterator[None]:
    """I2 off: a repetition under an idempotency key is executed again."""
    with mock.patch.object(IdempotencyKeys, "answer", return_value=None):
        yield


@contextmanager
def all_at_a_majority() -> Iterator[None]:
    """Level ALL is acknowledged once the write is committed."""
    with mock.patch.object(Leadership, "behind", return_value=[]):
        yield


@contextmanager
def quorum_read_here() -> Iterator[None]:
    """A QUORUM read is answered from what its node has applied, without asking anybody."""

    async def index(self: QuorumReads, _at: float) -> int:
        return self._site.engine.applied_index

    with mock.patch.object(QuorumReads, "index", index):
        yield


LEVEL_MUTANTS = (
    one_before_fsync,
    never_superseded,
    intents_applied_twice,
    pruned_when_sent,
    no_drain,
    no_overlay,
    delay_is_free,
    clock_not_merged,
    sessions_without_answers,
    keys_without_answers,
    all_at_a_majority,
    quorum_read_here,
)
