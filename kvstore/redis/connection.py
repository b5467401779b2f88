"""One connection: commands in, replies out, in their order.

Commands are carried out one after the other. GETs that stand together, and SETs that stand together, are taken to the
node as one run: reads of one state cannot be told apart, and the writes of a run are applied in its order. Those two
need no task: they go through the lane that all connections share, and it calls back.

Everything is bounded. While more waits than may wait, nothing is read; while the client does not read, nothing is
carried out; who does not read for REDIS_WRITE_S_MAX is cut off.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, cast

import structlog

from kvstore import limits
from kvstore.errors import InternalError, KvError
from kvstore.guard import rules
from kvstore.model.commands import OP_PUT, Op, plain
from kvstore.model.levels import Level
from kvstore.model.permissions import READ, WRITE
from kvstore.model.results import WriteAnswer
from kvstore.redis.command import Command
from kvstore.redis.commands import BY_NAME, find
from kvstore.redis.commands.arguments import check_key
from kvstore.redis.commands.unsupported import UNSUPPORTED
from kvstore.redis.lane import Fate
from kvstore.redis.permissions import need_of
from kvstore.redis.permits import Permits
from kvstore.redis.problems import CommandError, prefix_of, told, too_large
from kvstore.redis.replies import (
    NIL_BYTES,
    NO_REPLY,
    OK_BYTES,
    QUEUED,
    Error,
    Reply,
    bulk,
    encode,
    error,
)
from kvstore.redis.requests import Broken, Item, Refused, Requests
from kvstore.redis.services import Services
from kvstore.redis.session import Session

_log = structlog.get_logger("kvstore.redis")

_GET: Final = BY_NAME[b"GET"]
_SET: Final = BY_NAME[b"SET"]
_GOT: Final = ("GET", "ok")
_WAS_SET: Final = ("SET", "ok")
_STRAY: Final = "other"
_OP_OVERHEAD_BYTES: Final = 32
_OUT_REPLIES_MAX: Final = 64
# A value above this is sent as it is, rather than copied into one piece with others.
_LARGE_BYTES: Final = 16 << 10
_CONTROL: Final = frozenset(("EXEC", "DISCARD", "MULTI", "WATCH", "QUIT", "RESET"))


class _HungUp:
    """The client sends no more: the only one is _HUNG_UP."""


_HUNG_UP: Final = _HungUp()


class Connection(Permits, asyncio.Protocol):
    """One client's connection (kvstore.redis.command.Client). `gone` is told when it has ended."""

    def __init__(self, services: Services, gone: "Callable[[Connection], None]") -> None:
        self.services = services
        self._gone = gone
        self._requests = Requests(services.has_room)
        self._queue: deque[Item | _HungUp] = deque()
        self._out: list[bytes] = []  # replies that go out together
        self._held = 0
        self._busy = False
        self._reading_paused = False
        self._writing_paused = False
        self._writable: asyncio.Future[None] | None = None
        self._cut: asyncio.TimerHandle | None = None
        self._ending = False
        self._lost = False
        self._run_keys: list[bytes] = []
        self._run_ops: list[Op] = []
        self._run_at = 0
        self._run_leases: dict[bytes, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=limits.REDIS_WRITE_BUFFER_BYTES_MAX)
        peer = self._transport.get_extra_info("peername")
        self.session = Session(f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "")

    def data_received(self, data: bytes) -> None:
        if self._ending:
            return
        self._hold(self._held + len(data))
        self._queue.extend(self._requests.take(data))
        if not self._busy and not self._writing_paused:
            self._pump()
        if len(self._queue) > limits.REDIS_PIPELINE_COMMANDS_MAX or (
            self._queue and self._held > limits.REDIS_PIPELINE_BYTES_MAX
        ):
            self._pause_reading()
        elif self.services.held > limits.REDIS_INPUT_BYTES_MAX and not self._queue and not self._busy:
            self.end(error("OVERLOADED", "commands of all clients take too much room already"))

    def eof_received(self) -> bool:
        """The client sends no more; what it has sent is still answered."""
        if not self._busy and not self._queue:
            return False
        self._queue.append(_HUNG_UP)
        return True

    def pause_writing(self) -> None:
        self._writing_paused = True
        self._cut_off_later()

    def _cut_off_later(self) -> None:
        """Whoever has not read by then what was sent is cut off."""
        if self._cut is None:
            self._cut = self.services.loop.call_later(limits.REDIS_WRITE_S_MAX, self._transport.abort)

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._cut is not None and not self._ending:
            self._cut.cancel()
            self._cut = None
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        if not self._busy:
            self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = self._ending = True
        if self._cut is not None:
            self._cut.cancel()
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._queue.clear()
        self._hold(0)
        self.session.end_subscriptions()
        self._gone(self)

    # -- kvstore.redis.command.Client

    def push(self, reply: Reply) -> None:
        if not self._ending:
            self._out.append(encode(reply, self.session.protocol))
            self._flush()

    async def writable(self) -> bool:
        if self._writing_paused and not self._lost:
            if self._writable is None or self._writable.done():
                self._writable = self.services.loop.create_future()
            await asyncio.shield(self._writable)
        return not self._ending

    def end(self, last: Reply | None = None) -> None:
        if self._ending:
            return
        if last is not None:
            self._out.append(encode(last, self.session.protocol))
        self._flush()
        self._ending = True
        self._queue.clear()
        self._transport.close()
        self._cut_off_later()

    # -- for the door

    @property
    def idle(self) -> bool:
        """Whether nothing is being carried out or waits for it."""
        return not self._busy and not self._queue

    def abort(self) -> None:
        """Cut it off now."""
        self._transport.abort()

    # -- in

    def _hold(self, size: int) -> None:
        self.services.held += size - self._held
        self._held = size

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self._ending:
            self._reading_paused = True
            self._transport.pause_reading()

    def _drained(self) -> None:
        """Nothing waits any more."""
        self._hold(self._requests.waiting)
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()

    def _pump(self) -> None:
        """Carry out what waits, until something has to be waited for."""
        queue, session, out = self._queue, self.session, self._out
        left = limits.REDIS_RUN_COMMANDS_MAX
        while queue and not self._busy and not self._ending and not self._writing_paused:
            item = queue[0]
            if type(item) is not list:
                queue.popleft()
                self._refuse(cast(Broken | Refused | _HungUp, item))
                continue
            command = BY_NAME.get(item[0]) or find(item[0])
            if session.plain and not self.services.draining:
                if command is _GET and len(item) == 2 and session.read_level is not Level.ALL and self._may(READ, item):
                    self._read_run(session.read_level)
                    break
                if command is _SET and len(item) == 3 and self._may(WRITE, item):
                    self._write_run(session.write_level)
                    break
            queue.popleft()
            reply = self._begin(command, item)
            if reply is not NO_REPLY:
                out.append(encode(reply, session.protocol))
                if len(out) >= _OUT_REPLIES_MAX:
                    self._flush()
            left -= 1
            if not left and queue and not self._busy:
                self._busy = True  # others have their turn first
                self.services.loop.call_soon(self._answered)
        self._flush()
        if not queue and not self._busy and not self._ending:
            self._drained()

    def _refuse(self, item: Broken | Refused | _HungUp) -> None:
        if isinstance(item, _HungUp):
            self.end()
            return
        self._count(_STRAY, item.reply)
        if isinstance(item, Broken):
            self.end(item.reply)
            return
        if self.session.queue is not None:
            self.session.aborted = True
        self._out.append(encode(item.reply, self.session.protocol))

    def _flush(self) -> None:
        out = self._out
        if out:
            if not self._ending:
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    # -- runs

    def _read_run(self, level: Level) -> None:
        """The GETs that stand at the head of what waits."""
        queue = self._queue
        keys = self._run_keys
        keys.clear()
        while queue and len(keys) < limits.REDIS_RUN_COMMANDS_MAX:
            item = queue[0]
            if type(item) is not list or len(item) != 2 or item[0] not in (b"GET", b"get") or not self._may(READ, item):
                if not keys and type(item) is list:  # spelt in another way
                    keys.append(queue.popleft()[1])  # type: ignore[index]
                break
            keys.append(item[1])
            queue.popleft()
        self._busy = True
        self._run_at = self.services.lane.auth_revision
        self.services.lane.fresh(level, self._read_done)

    def _read_done(self, failed: KvError | None) -> None:
        keys = self._run_keys
        meter = self.services.meter
        out = self._out
        if failed is not None:
            out += [encode(told(failed), self.session.protocol)] * len(keys)
            meter.done(("GET", prefix_of(failed)), len(keys))
        else:
            if self.services.gate.audit is not None:
                for key in keys:
                    self._audit(_GET, [b"GET", key], None)
            read, level = self.services.store.record_now, self.session.read_level
            nil = NIL_BYTES[self.session.protocol]
            again = self.services.lane.auth_revision != self._run_at
            for key in keys:
                if again and (refused := self._refusal(rules.on_key(READ, key))) is not None:
                    out.append(encode(refused, self.session.protocol))
                    continue
                record = read(key, level)
                if record is None:
                    out.append(nil)
                elif len(record.value) < _LARGE_BYTES:
                    out.append(bulk(record.value))
                else:
                    out.append(b"$%d\r\n" % len(record.value))
                    self._flush()
                    out.append(record.value)
                    self._flush()
                    out.append(b"\r\n")
            meter.done(_GOT, len(keys))
        self._answered()

    def _write_run(self, level: Level) -> None:
        """The SETs that stand at the head of what waits."""
        queue = self._queue
        ops: list[Op] = []
        size = 0
        while queue and len(ops) < limits.REDIS_RUN_COMMANDS_MAX:
            item = queue[0]
            if type(item) is not list or len(item) != 3 or not self._may(WRITE, item):
                break
            name, key, value = item
            if name not in (b"SET", b"set") and (ops or find(name) is not _SET):
                break
            op_size = _OP_OVERHEAD_BYTES + len(key) + len(value)
            if ops and size + op_size > limits.REDIS_RUN_BYTES_MAX:
                break
            ops.append(self.services.lane.checked(level, (OP_PUT, key, value, None)))
            size += op_size
            queue.popleft()
        self._busy = True
        self._run_leases = self.services.leases.held(plain(op)[1] for op in ops)
        self._run_ops = ops
        self.services.lane.write(level, ops, size, self._write_done)

    def _write_done(self, fates: Sequence[Fate]) -> None:
        meter = self.services.meter
        out = self._out
        failed = 0
        for fate in fates:
            if isinstance(fate, KvError):
                failed += 1
                meter.done(("SET", prefix_of(fate)))
                out.append(encode(told(fate), self.session.protocol))
                continue
            if type(fate) is WriteAnswer:
                self.session.receipt = fate.receipt
            out.append(OK_BYTES)
        if self.services.gate.audit is not None:
            for op, fate in zip(self._run_ops, fates, strict=True):
                reply = told(fate) if isinstance(fate, KvError) else None
                self._audit(_SET, [b"SET", plain(op)[1]], reply)
        if failed < len(fates):
            meter.done(_WAS_SET, len(fates) - failed)
        if self._run_leases:
            made = {
                plain(op)[1]
                for op, fate in zip(self._run_ops, fates, strict=True)
                if not isinstance(fate, KvError | WriteAnswer)
            }
            self.services.leases.released({key: lease for key, lease in self._run_leases.items() if key in made})
        self._answered()

    def _answered(self) -> None:
        """What was waited for is answered."""
        self._busy = False
        self._flush()
        if self._queue:
            self._pump()
        elif not self._ending:
            self._drained()

    # -- all other commands

    def _begin(self, command: Command | None, arguments: list[bytes]) -> Reply:
        """The reply, or NO_REPLY: it was sent, or comes later, if the connection is busy then."""
        session = self.session
        try:
            self._check(command, arguments)
        except CommandError as refused:
            if session.queue is not None:
                session.aborted = True
            self._count(_STRAY if command is None else command.name, refused.reply)
            self._audit(command, arguments, refused.reply)
            return refused.reply
        assert command is not None
        if session.queue is not None and command.name not in _CONTROL:
            session.queue.append((command, arguments))
            session.queued_bytes += sum(map(len, arguments))
            return QUEUED
        session.last_command = command.name.lower()
        if self.services.draining and command.name != "QUIT":
            self.end(error("SHUTTINGDOWN", "this node stops; the command was not carried out: ask another one"))
            return NO_REPLY
        if command.local is not None:
            return self._local(command, arguments)
        self._busy = True
        task = self.services.loop.create_task(self._serve(command, arguments))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return NO_REPLY

    def _check(self, command: Command | None, arguments: list[bytes]) -> None:
        """Raises CommandError for what is refused before it is begun or queued."""
        session = self.session
        if self.services.gate.enabled and (command is None or command.needs != "open"):
            self.permit(rules.known)
        if command is None:
            raise _unknown(arguments)
        if not command.fits(len(arguments)):
            raise CommandError(f"wrong number of arguments for '{command.name.lower()}' command")
        if session.listens_only and not command.subscribed:
            raise CommandError(
                f"Can't execute '{command.name.lower()}': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT / RESET are "
                "allowed in this context"
            )
        for key in command.keys_of(arguments):
            check_key(key)
        if self.services.gate.enabled and command.needs != "open":
            self.permit(need_of(command, arguments))
        queued = session.queue is not None and command.name not in _CONTROL
        if session.write_level is Level.ONE and command.writes and (queued or not command.at_one):
            raise CommandError(
                f"{command.name} needs what level one does not know, the present value; KV.LEVEL quorum", "LEVELONE"
            )
        if queued:
            if command.pure is None:
                raise CommandError(f"{command.name} cannot stand between MULTI and EXEC here")
            if len(session.queue or ()) >= limits.REDIS_QUEUED_COMMANDS_MAX:
                raise too_large(f"a transaction has {limits.REDIS_QUEUED_COMMANDS_MAX} commands at most")
            if session.queued_bytes + sum(map(len, arguments)) > limits.REDIS_COMMAND_BYTES_MAX:
                raise too_large(f"a transaction has {limits.REDIS_COMMAND_BYTES_MAX:,} bytes at most")

    def _local(self, command: Command, arguments: list[bytes]) -> Reply:
        assert command.local is not None
        try:
            reply = command.local(self, arguments)
        except CommandError as refused:
            reply = refused.reply
        except Exception as fault:
            reply = _fault(command, fault)
        self._count(command.name, reply)
        return reply

    async def _serve(self, command: Command, arguments: list[bytes]) -> None:
        try:
            if self.services.gate.enabled and command.needs != "open":  # it may be another turn of the loop by now
                self.permit(need_of(command, arguments))
            seen = self.services.lane.auth_revision
            queued = self.session.queue if command.name == "EXEC" else None
            reply = await self._carried_out(command, arguments)
            if queued is not None:
                for each, answer in zip(queued, reply if type(reply) is list else (), strict=False):
                    self._audit(*each, answer)
            reads = command.only_reads if queued is None else not any(each.writes for each, _ in queued)
            if reads and command.needs != "open" and self.services.lane.auth_revision != seen:
                self.permit(need_of(command, arguments))
        except CommandError as refused:
            reply = refused.reply
        except KvError as failed:
            reply = told(failed, read=command.only_reads)
        except Exception as fault:
            reply = _fault(command, fault)
        self._count(command.name, reply)
        self._audit(command, arguments, reply)
        if self._lost:
            self.session.end_subscriptions()  # what began while it was lost
        if reply is not NO_REPLY:
            self._out.append(encode(reply, self.session.protocol))
        self._answered()

    async def _carried_out(self, command: Command, arguments: list[bytes]) -> Reply:
        session, changes = self.session, self.services.changes
        if command.served is not None:
            return await command.served(self, arguments)
        assert command.pure is not None
        call, keys = self.call(command, arguments), command.keys_of(arguments)
        if not command.writes:
            return await changes.read(call, session.read_level, keys)
        if len(keys) == 1:
            return await changes.single(keys[0], call, session.write_level)
        (reply,) = await changes.several(keys, [call], session.write_level, {})
        return reply

    def _count(self, name: str, reply: Reply) -> None:
        outcome = "ok"
        if type(reply) is Error:
            outcome = reply.split(b" ", 1)[0].decode("ascii", "replace")
        self.services.meter.done((name, outcome))


def _unknown(arguments: list[bytes]) -> CommandError:
    name = arguments[0][:128].decode("ascii", "backslashreplace")
    reason = UNSUPPORTED.get(name.upper())
    if reason is not None:
        return CommandError(f"{name.upper()} is not supported: {reason}")
    shown = " ".join(f"'{each[:128].decode('ascii', 'backslashreplace')}'" for each in arguments[1:4])
    return CommandError(f"unknown command '{name}', with args beginning with: {shown}")


def _fault(command: Command, fault: Exception) -> Error:
    _log.error("redis_command_failed", command=command.name, exc_info=fault)
    return told(InternalError("the server failed; its log has more", read=command.only_reads))
