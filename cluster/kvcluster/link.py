"""One directed link between two nodes: a TCP proxy that one of them dials to reach the other's peer port.

A node sends to a peer only on the connection that it dialed itself, so what is done to the link from A to B is done to
what A says to B, and not to what B says to A. A link is in one of three states:

    open      bytes pass, each `delay_s` after it came
    stalled   connections stay up and new ones are accepted, but nothing passes, the end of a connection neither. What
              has come is released when the link is healed: late, in order, and also on connections that have ended
              since. Above LINK_BUFFER_BYTES_MAX for each connection and direction nothing more is read
    reset     connections are reset, new ones at once

Delay and stall count for both directions of a connection: the handshake's answer waits too.

A link may also cut its connections by itself, each after so many bytes, wherever in a message that is (`cut_after`).

It counts what it does: `cuts_total` connections cut by themselves, `resets_total` reset by order, `held_bytes_total`
that came while it was stalled or were delayed.
"""

import asyncio
import math
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, cast

from kvstore import limits

State = Literal["open", "stalled", "reset"]
Address = tuple[str, int]

_LINGER_NOT: Final = struct.pack("ii", 1, 0)


class Link:
    """The proxy of one link, on the running event loop."""

    def __init__(self, listen: Address, target: Address, cut_after: Callable[[], float] = lambda: math.inf) -> None:
        """`cut_after` is asked for each direction of a new connection: how many bytes pass until it is reset."""
        self.state: State = "open"
        self.cut_after = cut_after
        self.cuts_total = 0
        self.resets_total = 0
        self.held_bytes_total = 0
        self.delay_s = 0.0
        self.target = target
        self.pipes: set[_Pipe] = set()
        self._listen = listen
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Pipe(self).near, *self._listen)

    @property
    def port(self) -> int:
        """Where it listens, once started."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening and end every connection."""
        if self._server is not None:
            self._server.close()
        for pipe in list(self.pipes):
            pipe.abort()

    def stall(self) -> None:
        """Let nothing pass until it is healed."""
        self.state = "stalled"

    def reset(self) -> None:
        """Reset what there is and what comes until it is healed. What a stall had kept is lost."""
        self.state = "reset"
        self.resets_total += len(self.pipes)
        for pipe in list(self.pipes):
            pipe.abort()

    def delay(self, seconds: float) -> None:
        """From now on everything takes so much longer; also while stalled, for the time after it."""
        self.delay_s = seconds

    def heal(self) -> None:
        """Open, without delay; what was kept is released."""
        self.state, self.delay_s = "open", 0.0
        for pipe in list(self.pipes):
            pipe.release()


class _Pipe:
    """Both sockets of one connection, `near` that of the node that dialed, and what is on its way between them."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.near, self.far = _End(self), _End(self)
        self.near.flow = _Flow(self, self.near, self.far)
        self.far.flow = _Flow(self, self.far, self.near)
        self._dialing: asyncio.Task[None] | None = None

    def accepted(self) -> None:
        self.link.pipes.add(self)
        if self.link.state == "reset":
            self.link.resets_total += 1
            self.abort()
        else:
            self.release()

    def release(self) -> None:
        """The link may be open: dial if that was not done yet, and let pass what waits."""
        if self.link.state == "open" and self._dialing is None:
            self._dialing = asyncio.get_running_loop().create_task(self._dial())
        self.near.flow.pump()
        self.far.flow.pump()

    async def _dial(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.far, *self.link.target)
        except OSError:
            self.abort()

    def abort(self) -> None:
        """End both sides with a reset; nothing more passes."""
        if self._dialing is not None:
            self._dialing.cancel()
        for end in (self.near, self.far):
            end.flow.drop()
            end.abort()
        self.link.pipes.discard(self)

    def cut(self) -> None:
        """It has carried its bytes."""
        self.link.cuts_total += 1
        self.abort()

    def ended(self) -> None:
        """One side is closed. When both are, nothing is left of the connection."""
        if self.near.over and self.far.over:
            self.link.pipes.discard(self)


class _End(asyncio.Protocol):
    """One socket. `flow` is the way of what it reads; `choked`: it takes nothing now, or not yet."""

    flow: "_Flow"

    def __init__(self, pipe: _Pipe) -> None:
        self.choked = True
        self.over = False
        self._pipe = pipe
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.choked = False
        if self is self._pipe.near:
            self._pipe.accepted()
        else:
            self._pipe.release()

    def data_received(self, data: bytes) -> None:
        self.flow.push(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.over = True
        self.flow.push(b"")
        self._pipe.ended()

    def pause_writing(self) -> None:
        self.choked = True

    def resume_writing(self) -> None:
        self.choked = False
        self._pipe.release()

    def hold(self, held: bool) -> None:
        """Read nothing more, or go on."""
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.pause_reading if held else self._transport.resume_reading)()

    def write(self, data: bytes) -> None:
        """Pass on; an empty `data` is the end of the connection."""
        if self._transport is None or self.over:
            return
        if data:
            self._transport.write(data)
        else:
            self._transport.close()

    def abort(self) -> None:
        """Reset, if there is something to reset."""
        if self._transport is not None and not self.over:
            with suppress(OSError):
                sock = self._transport.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()


class _Flow:
    """What is on its way from one end to the other, in order, each part with the time when it is due."""

    def __init__(self, pipe: _Pipe, source: _End, target: _End) -> None:
        self._pipe = pipe
        self._link = link = pipe.link
        self._source = source
        self._target = target
        self._parts: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._held = False
        self._dropped = False
        self._timer: asyncio.TimerHandle | None = None
        self._left = link.cut_after()

    def push(self, data: bytes) -> None:
        """Something was read; empty for the end."""
        if self._dropped:
            return
        self._parts.append((asyncio.get_running_loop().time() + self._link.delay_s, data))
        self._bytes += len(data)
        if self._link.state == "stalled" or self._link.delay_s:
            self._link.held_bytes_total += len(data)
        self.pump()
        if self._bytes > limits.LINK_BUFFER_BYTES_MAX and not self._held:
            self._held = True
            self._source.hold(True)

    def pump(self) -> None:
        """Pass on what may pass now."""
        loop = asyncio.get_running_loop()
        while self._parts and self._link.state == "open" and not self._target.choked:
            due, data = self._parts[0]
            wait_s = due - loop.time()
            if wait_s > 0:
                if self._timer is None:
                    self._timer = loop.call_later(wait_s, self._due)
                return
            self._parts.popleft()
            self._bytes -= len(data)
            if len(data) > self._left:
                if self._left >= 1:
                    self._target.write(data[: int(self._left)])
                self._pipe.cut()
                return
            self._left -= len(data)
            self._target.write(data)
        if self._held and self._bytes <= limits.LINK_BUFFER_BYTES_MAX // 2:
            self._held = False
            self._source.hold(False)

    def _due(self) -> None:
        self._timer = None
        self.pump()

    def drop(self) -> None:
        """Forget what is on its way, and all that may follow."""
        self._dropped = True
        self._parts.clear()
        if self._timer is not None:
            self._timer.cancel()
