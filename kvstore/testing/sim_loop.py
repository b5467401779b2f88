"""Virtual time: asyncio without a clock, a socket or a thread.

`VirtualTime` holds what is to run and when. Each party (a node's process, the test itself) has a `SimLoop` of its own
on it, an asyncio event loop as far as futures, tasks and timers go. When nothing is ready, time jumps to the next one.
So a minute passes in milliseconds, and the order of everything follows from the calls alone.

A SimLoop can be paused (a stopped process: nothing of it runs until it is resumed) and killed (nothing of it ever runs
again: tasks, timers and callbacks vanish as with a killed process). Each has its own clocks, which may run fast or
slow.
"""

import asyncio
import contextvars
import heapq
import weakref
from asyncio import events
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

_T = TypeVar("_T")

RUNNING: Final = 0
PAUSED: Final = 1
DEAD: Final = 2

# 2024-01-01 in milliseconds: where virtual wall clocks start.
EPOCH_MS: Final = 1_704_067_200_000


class NothingLeft(RuntimeError):
    """Nothing is ready and no timer is set, but what was waited for has not happened."""


class OutOfTime(RuntimeError):
    """The virtual time that was allowed has passed, but what was waited for has not happened."""


class SimHandle:
    """A call to come, with the part of asyncio.TimerHandle that futures, tasks and timeouts need."""

    __slots__ = ("args", "at", "callback", "context", "loop")

    def __init__(
        self,
        loop: "SimLoop",
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context | None,
        at: float,
    ) -> None:
        self.loop = loop
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context
        self.at = at

    def cancel(self) -> None:
        """Call it off."""
        self.callback = None
        self.args = ()

    def cancelled(self) -> bool:
        """Whether it was called off, or has run."""
        return self.callback is None

    def when(self) -> float:
        """When it is due, by the clock of its loop."""
        return self.loop.local(self.at)


class VirtualTime:
    """What is to run and when. `now` is in seconds since the beginning."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0
        self._ready: deque[SimHandle] = deque()
        self._timers: list[tuple[float, int, SimHandle]] = []
        self._count = 0

    def soon(self, handle: SimHandle) -> None:
        """Run `handle` after everything that is ready now."""
        self._ready.append(handle)

    def at(self, when: float, handle: SimHandle) -> None:
        """Run `handle` when it is `when`."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))

    def run(self, done: Callable[[], bool], until: float) -> None:
        """Let things happen until `done()`. Raises NothingLeft, or OutOfTime when it is `until`."""
        ready = self._ready
        before = events._get_running_loop()
        events._set_running_loop(None)
        current: SimLoop | None = None
        try:
            while not done():
                if not ready:
                    self._advance(until)
                for _ in range(len(ready)):
                    if not ready:
                        break
                    handle = ready.popleft()
                    callback, loop = handle.callback, handle.loop
                    if callback is None:
                        continue
                    if loop.state:
                        loop.put_off(handle)
                        continue
                    if loop is not current:
                        events._set_running_loop(loop)
                        current = loop
                    self.steps += 1
                    handle.callback = None
                    loop.execute(callback, handle.args, handle.context)
        finally:
            events._set_running_loop(before)

    def stop(self) -> None:
        """Forget everything that was to come."""
        self._ready.clear()
        self._timers.clear()

    def _advance(self, until: float) -> None:
        """Jump to the next timer that still matters, and make all that are due ready."""
        ready, timers = self._ready, self._timers
        while timers:
            when, _, handle = timers[0]
            if handle.callback is None or handle.loop.state == DEAD:
                heapq.heappop(timers)
                continue
            if when > until:
                self.now = until
                raise OutOfTime(f"it is {until:.3f} s")
            self.now = max(self.now, when)
            while timers and timers[0][0] <= when:
                ready.append(heapq.heappop(timers)[2])
            return
        raise NothingLeft("nothing is ready and no timer is set")


class SimLoop(asyncio.AbstractEventLoop):
    """The event loop of one party. Not a running thread: `VirtualTime.run` runs all loops of a simulation.

    `offset_s` and `rate` make its monotonic clock: offset_s + rate * virtual time. Set `after` to be called after each
    callback of this loop, `on_error` for exceptions that nobody handles (they end the simulation otherwise).
    """

    def __init__(self, time: VirtualTime, *, name: str = "", offset_s: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.state = RUNNING
        self.after: Callable[[], None] | None = None
        self.on_error: Callable[[BaseException], None] | None = None
        self.network: Any = None  # of kvstore.testing.sim_network, for create_connection and create_server
        self._time = time
        self._offset_s = offset_s
        self._rate = rate
        self._put_off: list[SimHandle] = []
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    def execute(
        self, callback: Callable[..., object], args: tuple[Any, ...], context: contextvars.Context | None
    ) -> None:
        """Run one callback; for VirtualTime only."""
        try:
            if context is None:
                callback(*args)
            else:
                context.run(callback, *args)
        except BaseException as error:
            if self.on_error is None:
                raise
            self.on_error(error)
        if self.after is not None:
            self.after()

    # -- being a process

    def pause(self) -> None:
        """Stop as by SIGSTOP; a dead loop stays dead."""
        if self.state == RUNNING:
            self.state = PAUSED

    def resume(self) -> None:
        """Go on as by SIGCONT: all that became due in between is due now, in its order."""
        if self.state == PAUSED:
            self.state = RUNNING
            for handle in self._put_off:
                self._time.soon(handle)
            self._put_off.clear()

    def kill(self) -> None:
        """Nothing of this loop ever runs again, but for the `finally` clauses of its tasks."""
        self.state = DEAD
        self._put_off.clear()
        for task in list(self._tasks):
            coroutine = task.get_coro()
            if not task.done() and isinstance(coroutine, Coroutine) and not getattr(coroutine, "cr_running", False):
                with suppress(Exception):
                    coroutine.close()

    def put_off(self, handle: SimHandle) -> None:
        """Keep what came due while paused; for VirtualTime only."""
        if self.state == PAUSED:
            self._put_off.append(handle)

    # -- clocks

    def time(self) -> float:
        """Seconds of this loop's monotonic clock."""
        return self._offset_s + self._rate * self._time.now

    def local(self, now: float) -> float:
        """What this loop's clock shows when it is `now` in virtual time."""
        return self._offset_s + self._rate * now

    # -- asyncio

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        """After everything that is ready now."""
        handle = SimHandle(self, callback, args, context, self._time.now)
        self._time.soon(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        """In `delay` seconds of this loop's clock."""
        at = self._time.now + max(delay, 0.0) / self._rate
        handle = SimHandle(self, callback, args, context, at)
        self._time.at(at, handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> SimHandle:
        """When this loop's clock shows `when`."""
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        """A future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, _T], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> "asyncio.Task[_T]":
        """A task of this loop. It never begins on a dead one: a process may end in the middle of a callback."""
        task = asyncio.Task(coro, loop=self, name=name or "sim", context=context)
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.add(task)
        if self.state == DEAD:
            coro.close()
        return task

    def run_until_complete(self, future: Awaitable[_T], *, timeout_s: float = 3600.0) -> _T:  # type: ignore[override]
        """Let all loops run until `future` is done. Raises OutOfTime after `timeout_s` seconds of virtual time."""
        task: asyncio.Future[_T] = asyncio.ensure_future(future, loop=self)
        self._time.run(task.done, self._time.now + timeout_s)
        return task.result()

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Dial on the simulated network."""
        return await self.network.dial(self, protocol_factory, host, port)  # type: ignore[no-any-return]

    async def create_server(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> Any:
        """Listen on the simulated network."""
        return self.network.listen(self, protocol_factory, host, port)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What nobody awaited and nobody caught."""
        error = context.get("exception")
        if (
            self.state == DEAD
            or error is None
            or ("future" in context and not isinstance(context["future"], asyncio.Task))
        ):
            return  # a future that nobody wants any more is no failure; a task that nobody looks at is
        if self.on_error is not None:
            self.on_error(error)

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whether a callback of this loop runs right now."""
        return events._get_running_loop() is self

    def is_closed(self) -> bool:
        """Whether it was killed."""
        return self.state == DEAD


class SimClock:
    """The clocks of one node (kvstore.clock.Clock). The wall clock may jump: change `jump_ms`."""

    def __init__(self, loop: SimLoop, *, wall_offset_ms: int = 0) -> None:
        self.jump_ms = 0
        self._loop = loop
        self._wall_ms = EPOCH_MS + wall_offset_ms
        self._began = loop.time()

    def monotonic(self) -> float:
        return self._loop.time()

    def wall_ms(self) -> int:
        return self._wall_ms + self.jump_ms + int((self._loop.time() - self._began) * 1000)
