"""What the register and the counter workloads ask of the Redis door: real commands, a connection for each client.

Nothing is sent twice (kvstore.redis.client), so a history tells what a user would see: an error by its outcome, what
was sent and not answered as unknown. Levels are chosen as users choose them, on the connection: READONLY for a read at
ONE, KV.LEVEL for ALL, in one packet with what they are for and with the way back.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from kvjepsen.workloads.seen import Seen
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Worker
from kvstore import limits
from kvstore.errors import CannotConnect, KvError, LocalError, NotFound, PreconditionFailed
from kvstore.redis.client import Answer, Command, RedisClient

# Most give up before the door does; some wait for what it says in the end.
_PATIENT_SHARE: Final = 0.2
_PATIENT_S: Final = limits.REDIS_COMMAND_S_MAX + 1

_AROUND: Final[dict[str, tuple[tuple[Command, ...], tuple[Command, ...]]]] = {
    "one": (((b"READONLY",),), ((b"READWRITE",),)),
    "quorum": ((), ()),
    "all": (((b"KV.LEVEL", b"all"),), ((b"KV.LEVEL", b"quorum"),)),
}


class NothingWritten(CannotConnect):
    """The connection was lost, or silent, before anything that writes had been sent."""


class RedisRegister:
    """A register as the Redis door has it: GET, SET, DEL; SET NX, or WATCH and EXEC, to compare. No revisions."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    async def read(self, key: str, level: str, timeout_s: float) -> Seen | None:
        """What is there; None if it could not be read."""
        worker = self._worker
        value = await worker.look(
            key, lambda: _one(worker, (b"GET", key.encode()), level=level, timeout_s=timeout_s), _decoded, level=level
        )
        return Seen(_decoded(value)) if worker.served else None

    async def write(self, key: str, value: int, level: str) -> None:
        worker, command = self._worker, (b"SET", key.encode(), _encoded(value))
        await worker.change("write", key, value, lambda: _one(worker, command, level=level), level=level)

    async def delete(self, key: str, level: str) -> None:
        worker = self._worker

        async def ask() -> None:
            if not await _one(worker, (b"DEL", key.encode()), level=level):
                raise NotFound("there was nothing to delete")

        await worker.change("delete", key, None, ask, level=level)

    async def cas(self, key: str, seen: Seen, new: int, level: str) -> None:
        worker, raw, old = self._worker, key.encode(), seen.value
        if old is None and worker.rng.random() < 0.5:
            await worker.change("cas", key, [None, new], lambda: self._put_if_absent(raw, new, level), level=level)
        else:
            await worker.change("cas", key, [old, new], lambda: self._exchange(raw, old, new, level), level=level)

    async def _put_if_absent(self, raw: bytes, new: int, level: str) -> None:
        if await _one(self._worker, (b"SET", raw, _encoded(new), b"NX"), level=level) is None:
            raise PreconditionFailed("it is there")

    async def _exchange(self, raw: bytes, old: int | None, new: int, level: str) -> None:
        worker = self._worker
        try:
            *_, there = await _all(worker, ((b"WATCH", raw), (b"GET", raw)), level="quorum", timeout_s=READ_S_MAX)
        except (KvError, LocalError) as failed:
            _redis(worker).close()  # what is watched by then must not decide about another key
            raise NothingWritten(str(failed)) from failed
        if _decoded(there) != old:
            await _redis(worker).ask((b"UNWATCH",), timeout_s=READ_S_MAX)
            raise PreconditionFailed("another value is there")
        *_, done = await _all(worker, ((b"MULTI",), (b"SET", raw, _encoded(new)), (b"EXEC",)), level=level)
        if done is None:
            raise PreconditionFailed("it has changed since it was watched")


async def increment(worker: Worker, key: str, amount: int) -> None:
    """INCR, or INCRBY for more than one; the answer tells where the counter stands then."""
    raw = key.encode()
    command = (b"INCR", raw) if amount == 1 else (b"INCRBY", raw, b"%d" % amount)
    await worker.change("increment", key, amount, lambda: _one(worker, command), lambda stands: {"stands": stands})


async def count(worker: Worker, key: str, level: str, timeout_s: float = READ_S_MAX) -> None:
    """GET of a counter."""
    await worker.look(
        key,
        lambda: _one(worker, (b"GET", key.encode()), level=level, timeout_s=timeout_s),
        lambda told: 0 if told is None else int(told),
        level=level,
    )


async def _one(worker: Worker, command: Command, *, level: str = "quorum", timeout_s: float | None = None) -> Answer:
    (answer,) = await _all(worker, (command,), level=level, timeout_s=timeout_s)
    return answer


async def _all(
    worker: Worker, commands: Sequence[Command], *, level: str, timeout_s: float | None = None
) -> list[Answer]:
    """The replies. Raises the first error, KvError or LocalError. Without `timeout_s` it is that of a write."""
    if timeout_s is None:
        timeout_s = _PATIENT_S if worker.rng.random() < _PATIENT_SHARE else WRITE_S_MAX
    before, after = _AROUND[level]
    answers = await _redis(worker).ask(*before, *commands, *after, timeout_s=timeout_s)
    for answer in answers[: len(before) + len(commands)]:
        if isinstance(answer, (KvError, LocalError)):
            raise answer
    return answers[len(before) : len(before) + len(commands)]


def _redis(worker: Worker) -> RedisClient:
    assert worker.redis is not None
    return worker.redis


def _encoded(value: int) -> bytes:
    return json.dumps(value).encode()


def _decoded(told: bytes | None) -> Any:
    return None if told is None else json.loads(told)
