"""Receipts: what became of a write at level ONE.

A receipt's id names the node that acknowledged it (the origin), its epoch and its sequence there. What was applied is
in the replicated state, so any node can tell it; that it is still pending, or was never heard of, only the origin can.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

import msgspec

from kvstore import limits
from kvstore.asking import asked as asked_now
from kvstore.errors import BadRequest, InternalError, MembersUnreachable
from kvstore.model.levels import Level
from kvstore.model.results import APPLIED, ONCE_CONFLICT, SUPERSEDED, OpResult, Receipt
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.intents import Intent, IntentLog
from kvstore.node.site import Site
from kvstore.state.machine import Machine

CALL_RECEIPT: Final = "receipt"
_NUMBER_MAX: Final = (1 << 63) - 1


class ReceiptId(NamedTuple):
    """`node.epoch.sequence`, the epoch in hexadecimal digits."""

    node: str
    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.node}.{self.epoch:x}.{self.sequence}"


def receipt_id(node: str, intent: Intent) -> str:
    """The id of the receipt for `intent` of `node`."""
    return str(ReceiptId(node, intent.epoch, intent.sequence))


def parse_receipt_id(text: str) -> ReceiptId:
    """The reverse of `str`. Raises BadRequest."""
    parts = text.rsplit(".", 2)
    try:
        node, epoch, sequence = parts[0], int(parts[1], 16), int(parts[2])
    except (IndexError, ValueError):
        raise BadRequest("a receipt's id looks like NODE.EPOCH.SEQUENCE", read=True) from None
    found = ReceiptId(node, epoch, sequence)
    in_bounds = 0 < len(node) <= limits.NAME_CHARS_MAX and 0 < epoch <= _NUMBER_MAX and 0 < sequence <= _NUMBER_MAX
    if str(found) != text or not in_bounds:
        raise BadRequest("a receipt's id looks like NODE.EPOCH.SEQUENCE", read=True)
    return found


class Receipts:
    """Looks them up, here or at the origin. `machine` is asked for each time: a snapshot may replace it. `catch_up`
    waits until this node has applied all that was acknowledged before.
    """

    def __init__(
        self,
        site: Site,
        intents: IntentLog,
        machine: Callable[[], Machine],
        catch_up: Callable[[float], Awaitable[None]],
    ) -> None:
        self._site = site
        self._intents = intents
        self._machine = machine
        self._catch_up = catch_up
        site.calls.serve(CALL_RECEIPT, self._serve)

    async def get(self, text: str, at: float) -> Receipt:
        """The receipt with that id. Raises BadRequest, and MembersUnreachable when only the origin could tell."""
        asked = parse_receipt_id(text)
        settled = self._settled(asked)
        if settled is not None:
            return settled
        engine = self._site.engine
        if asked.node == engine.name:
            return await self._own(asked, at)
        if asked.node not in engine.configuration.names:
            await self._catch_up(at)
            if asked.node not in engine.configuration.names:
                return self._settled(asked) or self._gone(asked)
        try:
            timeout_ms = max(int((at - self._site.loop.time()) * 1000), 1)
            answer = await self._site.calls.call(asked.node, CALL_RECEIPT, [text, timeout_ms], at, asked=asked_now())
            return msgspec.convert([text, Level.ONE, *answer], Receipt)
        except msgspec.ValidationError:
            raise InternalError(f"{asked.node} answered in a form that is not known here", read=True) from None
        except (Expired, NotSent, PeerGone):
            raise MembersUnreachable(
                f"only {asked.node} can tell whether this write is still pending, and it cannot be reached",
                read=True,
                missing=(asked.node,),
            ) from None

    def _settled(self, asked: ReceiptId) -> Receipt | None:
        """What the state that this node has applied tells, or None."""
        epoch, sequence = asked.epoch, asked.sequence
        if asked.node == self._site.engine.name:
            epoch, sequence = self._intents.present_name(epoch, sequence)
        result = self._machine().intent_result(asked.node, epoch, sequence)
        return None if result is None else _of_result(str(asked), result)

    def _pending(self, asked: ReceiptId) -> Receipt | None:
        pending = self._intents.is_pending(*self._intents.present_name(asked.epoch, asked.sequence))
        return Receipt(str(asked), Level.ONE, "pending", None, None) if pending else None

    async def _own(self, asked: ReceiptId, at: float) -> Receipt:
        """What the origin itself can tell. It says that it knows nothing only once it has caught up: after a restart,
        its state may lack what it had applied and forgotten before.
        """
        found = self._settled(asked) or self._pending(asked)
        if found is None:
            await self._catch_up(at)
            found = self._settled(asked) or self._pending(asked)
        if found is not None:
            return found
        return self._gone(asked)

    def _gone(self, asked: ReceiptId) -> Receipt:
        """Nobody has it any more: its result was kept once, or it was never applied."""
        name = asked.epoch, asked.sequence
        if asked.node == self._site.engine.name:
            name = self._intents.present_name(*name)
        machine = self._machine()
        last = machine.last_intent(asked.node, name[0])
        expired = name[0] < machine.oldest_epoch(asked.node) if last is None else name[1] <= last
        return Receipt(str(asked), Level.ONE, "unknown", None, "expired" if expired else "lost")

    async def _serve(self, _peer: str, body: list[Any]) -> list[Any]:
        match body:
            case [str(text), int(timeout_ms)] if 0 < timeout_ms <= limits.TIMEOUT_MS_MAX:
                asked = parse_receipt_id(text)
            case _:
                raise BadRequest("a forwarded receipt is malformed", read=True)
        if asked.node != self._site.engine.name:
            raise BadRequest("a receipt of another node", read=True)
        found = await self._own(asked, self._site.in_s(timeout_ms / 1000))
        return [found.state, found.revision, found.reason]


def _of_result(text: str, result: OpResult) -> Receipt:
    if result.status == SUPERSEDED:
        return Receipt(text, Level.ONE, "superseded", None, None)
    if result.status == ONCE_CONFLICT:
        return Receipt(text, Level.ONE, "superseded", None, "conflict")
    return Receipt(text, Level.ONE, "committed", result.revision if result.status == APPLIED else None, None)
