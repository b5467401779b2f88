"""An intent log as one start of a node opens it, stepped by hand: a loop that runs when a test says so, a clock that
shows what a test says, a disk in memory.
"""

import asyncio
import random
from collections.abc import Callable, Generator
from typing import Any, cast

from kvstore.consensus.journal import Journal
from kvstore.model.commands import OP_DELETE, OP_PUT, Op
from kvstore.model.results import APPLIED, OpResult
from kvstore.node.hybrid_clock import HybridClock
from kvstore.node.intents import Intent, IntentLog
from kvstore.state.machine import Machine
from tests.support.crash_disk import CrashDisk

NODE = "n1"
DIRECTORY = "data/intents"
SEGMENT_BYTES = 8192 + 900


class HandLoop(asyncio.AbstractEventLoop):
    """What an intent log needs of a loop. `turn` runs what was to be called soon."""

    def __init__(self) -> None:
        self.soon: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> Any:
        self.soon.append((callback, args))

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self)

    def turn(self) -> None:
        """One turn of the loop."""
        soon, self.soon = self.soon, []
        for callback, args in soon:
            callback(*args)

    def get_debug(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nobody waits for it any more."""


class HandClock:
    """Clocks that show what they are told to."""

    def __init__(self, wall: int = 1_000) -> None:
        self.wall = wall

    def monotonic(self) -> float:
        return self.wall / 1000

    def wall_ms(self) -> int:
        return self.wall


class HandMachine:
    """What an intent log asks of the applied state: where its node's intents are, and which keys are known."""

    def __init__(self, epoch: int = 0, mark: int = 0) -> None:
        self.at = epoch, mark
        self.applied: set[tuple[int, int]] = set()
        self.keys: set[bytes] = set()
        self.intent_keys_full = False

    def mark(self, node: str) -> tuple[int, int]:
        assert node == NODE
        return self.at

    def intent_result(self, _node: str, epoch: int, sequence: int) -> OpResult | None:
        return OpResult(APPLIED, sequence, 1) if (epoch, sequence) in self.applied else None

    def remembers(self, key: bytes) -> bool:
        return key in self.keys


def node_disk() -> CrashDisk:
    """A disk on which the data directory is durable."""
    disk = CrashDisk()
    disk.mkdir("data")
    disk.sync_dir("")
    disk.operations = 0
    return disk


class OpenLog:
    """One start. `failures` are what ended it, `wakes` how often there was something to forward."""

    def __init__(
        self,
        disk: CrashDisk,
        clock: HandClock | None = None,
        *,
        incarnation: int = 1,
        applied_epoch: int = 0,
        drift_ms_max: int = 1_000,
        segment_bytes: int = SEGMENT_BYTES,
        seed: object = 0,
    ) -> None:
        self.disk = disk
        self.loop = HandLoop()
        self.machine = HandMachine(applied_epoch)
        self._index = 1
        self.wall = clock or HandClock()
        self.clock = HybridClock(self.wall, NODE, lambda: drift_ms_max)
        self.failures: list[Exception] = []
        self.wakes = 0
        rng = random.Random(f"{seed} {incarnation}")
        self.journal = Journal.open(disk, DIRECTORY, segment_bytes=segment_bytes, entropy=rng.randbytes)
        self.log = IntentLog(
            journal=self.journal,
            node=NODE,
            incarnation=incarnation,
            machine=lambda: cast(Machine, self.machine),
            rng=rng,
            loop=self.loop,
            clock=self.clock,
            wake=self._woken,
            on_failure=self.failures.append,
        )

    def _woken(self) -> None:
        self.wakes += 1

    def ask(self, key: bytes, value: bytes | None, once: bytes | None = None) -> "asyncio.Future[Intent]":
        """Ask for a put, or a delete if `value` is None; what comes of it is known after the next turn, unless it is
        refused, or known already. Raises what it is refused with.
        """
        kind = OP_DELETE if value is None else OP_PUT
        asked: Generator[Any, None, Intent] = self.log.add(kind, key, value or b"", once).__await__()
        try:
            future: asyncio.Future[Intent] = next(asked)
        except StopIteration as known:
            future = self.loop.create_future()
            future.set_result(known.value)
        return future

    def add(self, key: bytes, value: bytes | None = b"v", once: bytes | None = None) -> Intent:
        """The same in a turn of its own, acknowledged."""
        future = self.ask(key, value, once)
        self.loop.turn()
        return future.result()

    def pending(self) -> list[Intent]:
        """All that is acknowledged and not settled, in order."""
        return list(self.log._pending)

    def settle_all(self) -> None:
        """All that is pending was applied."""
        last = self.pending()[-1]
        self.settle(last.epoch, last.sequence)

    def settle(self, epoch: int, mark: int, *, durable: bool = True) -> None:
        """The state of this node has come to that mark; `durable`: and a restart would find it there."""
        self.machine.at = epoch, mark
        self._index += 1
        self.log.settle(self._index, self._index if durable else 0)

    def close(self) -> None:
        self.log.close()


def what(op: Op) -> tuple[bytes, bytes | None]:
    """The key that an intent's operation writes, and the value, None for a delete."""
    return op[1], op[2] if op[0] == OP_PUT else None
