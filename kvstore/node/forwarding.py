"""Hinted handoff: takes what this node acknowledged at level ONE through the log, in order and exactly once.

One batch is under way at a time. It is always taken anew from what this node's own applied state does not cover, so a
batch that was lost, or whose answer was, is simply sent again: what had been applied is known by its sequence (rule O2
of `kvstore.state.origins`). The batch goes to the leader, or is proposed here if this node leads.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import structlog

from kvstore import limits
from kvstore.errors import BadRequest, KvError, NoLeader
from kvstore.model import command_shapes
from kvstore.model.commands import Op, Origin, op_bytes
from kvstore.node.calls import NotSent, PeerGone
from kvstore.node.deadlines import Expired
from kvstore.node.intents import IntentLog
from kvstore.node.proposals import NotProposed, Proposals
from kvstore.node.reads import AppliedWaits
from kvstore.node.site import Site

log = structlog.get_logger()

CALL_INTENTS: Final = "intents"
ANSWER_S_MAX: Final = 5.0
PAUSE_S: Final = 0.05


class Forwarder:
    """Runs while something is pending. `current_epoch` is that of this node in its own applied state."""

    def __init__(
        self,
        site: Site,
        proposals: Proposals,
        intents: IntentLog,
        applied: AppliedWaits,
        current_epoch: Callable[[], int],
    ) -> None:
        self._site = site
        self._proposals = proposals
        self._intents = intents
        self._applied = applied
        self._current_epoch = current_epoch
        self._task: asyncio.Task[None] | None = None
        self.batches_total = 0
        site.calls.serve(CALL_INTENTS, self._serve)

    def wake(self) -> None:
        """There may be something to forward."""
        if self._task is None:
            self._task = self._site.loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            while batch := self._intents.batch():
                try:
                    index = await self._send(batch[0].epoch, batch[0].sequence, [intent.op for intent in batch])
                    await self._until_applied(index)
                except (KvError, NotSent, PeerGone, NotProposed, Expired) as failed:
                    log.debug("intents_wait", pending=len(self._intents), why=repr(failed))
                    await self._pause()
                except Exception:
                    log.exception(
                        "intents_wait", pending=len(self._intents)
                    )  # they must be handed over, whatever it was
                    await self._pause()
                else:
                    if self._intents.batch()[:1] == batch[:1]:
                        await self._pause()  # refused, or not all of it is known here yet: no reason to hurry
        finally:
            self._task = None

    async def _send(self, epoch: int, sequence: int, ops: list[Op]) -> int:
        """Have a batch applied; the log index where it was. Raises what may go wrong on the way."""
        self.batches_total += 1
        current = self._current_epoch()
        previous = current if current != epoch else 0
        leader = self._site.engine.leader
        at = self._site.in_s(ANSWER_S_MAX)
        if self._site.engine.leads:
            return await self._here(ops, Origin(self._site.engine.name, epoch, previous, sequence), at)
        if leader is None or leader == self._site.engine.name:
            raise NoLeader("nobody leads")
        body = [epoch, previous, sequence, [list(op) for op in ops]]
        match await self._site.calls.call(leader, CALL_INTENTS, body, at, while_leading=True):
            case [int(index)]:
                return index
        raise NoLeader(f"{leader} answered in a form that is not known here")

    async def _here(self, ops: list[Op], origin: Origin, at: float) -> int:
        index: int
        _, index = await self._site.deadlines.wait(self._proposals.add_intents(ops, origin), at)
        return index

    async def _until_applied(self, index: int) -> None:
        if index > self._site.engine.applied_index:
            await self._applied.wait(self._site, index, self._site.in_s(ANSWER_S_MAX))

    async def _pause(self) -> None:
        """Wait for a change of leadership, or a moment."""
        try:
            await self._site.leaders.wait_change(self._site.in_s(PAUSE_S), read=False)
        except KvError:
            return

    async def _serve(self, peer: str, body: list[Any]) -> list[Any]:
        ops, origin = parse_intents_call(peer, body)
        if not self._site.engine.leads:
            raise NoLeader("this node does not lead")
        try:
            return [await self._here(ops, origin, self._site.in_s(ANSWER_S_MAX))]
        except NotProposed:
            raise NoLeader("this node stopped leading before the batch was appended") from None
        except Expired:
            raise NoLeader("the batch was not committed in time") from None

    def close(self) -> None:
        """Stop; what is pending stays in the intent log."""
        if self._task is not None:
            self._task.cancel()


def parse_intents_call(peer: str, body: list[Any]) -> tuple[list[Op], Origin]:
    """The operations and origin that `peer` forwarded; they are its own. Raises BadRequest for anything malformed."""
    match body:
        case [int(epoch), int(previous), int(first), [*rows]] if (
            epoch > 0 and previous >= 0 and first > 0 and 0 < len(rows) <= limits.ENTRY_OPS_MAX
        ):
            ops = [tuple(row) if isinstance(row, list) else () for row in rows]
        case _:
            raise BadRequest("a forwarded batch is malformed")
    for op in ops:
        if not command_shapes.known_intent(op):
            raise BadRequest("a forwarded batch holds a malformed write")
        value = op[2] if len(op) == 6 else b""
        if not 0 < len(op[1]) <= limits.KEY_BYTES_MAX or len(value) > limits.VALUE_BYTES_MAX:
            raise BadRequest("a forwarded batch holds a write that is out of bounds")
    if sum(map(op_bytes, ops)) > limits.INTENTS_BATCH_BYTES_MAX + limits.VALUE_BYTES_MAX + limits.HTTP_LINE_BYTES_MAX:
        raise BadRequest("a forwarded batch is too large")
    return ops, Origin(peer, epoch, previous, first)
