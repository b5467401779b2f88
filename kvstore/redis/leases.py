"""Times to live, on leases: each key that has one gets a lease of its own.

The lease is granted first, then the key is put with it. If this node dies in between, a lease without keys is left,
which ends by itself. A lease that its key does not need any more is revoked in the background, so that they do not
pile up: after an overwrite, a delete, PERSIST or another time to live, if it was granted by this node and this node
made that change. Any other one ends by itself, in its own time.

What revokes a lease must be sure that its key is off it: a revoked lease takes its keys along. So a write asks which
lease its keys have (`held`) before it is handed over, and only that one is dropped once it is made (`released`): it was
known by then because the put that attached it was committed, so the write lies behind that put in the log. What other
writes attach meanwhile is theirs.

A lease that the clients of the HTTP API made is never revoked: this only knows what it granted.
"""

import asyncio
from collections.abc import Iterable, Mapping

from kvstore import limits
from kvstore.errors import KvError
from kvstore.model import commands
from kvstore.model.commands import KEEP_LEASE
from kvstore.model.levels import Level
from kvstore.redis.lane import Lane
from kvstore.redis.problems import CommandError
from kvstore.redis.view import NewLease, Put


class KeyLeases:
    """The leases that this node granted to keys; it remembers a bounded number of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lane: Lane) -> None:
        self._loop = loop
        self._lane = lane
        self._of_key: dict[bytes, int] = {}
        self._unneeded: list[int] = []
        self._revoking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._of_key)

    async def granted(self, writes: Mapping[bytes, Put | None], there: dict[bytes, tuple[int, int]]) -> None:
        """Grant the new leases that `writes` ask for: key -> (lease, time to live), added to `there` unless they are
        in it already. Raises KvError: nothing was put.
        """
        wanted = [
            (key, put.lease.ttl_ms)
            for key, put in writes.items()
            if put is not None and isinstance(put.lease, NewLease) and there.get(key, (0, 0))[1] != put.lease.ttl_ms
        ]
        if not wanted:
            return
        ops = [self._lane.checked(Level.QUORUM, commands.grant(ttl_ms)) for _, ttl_ms in wanted]
        size = sum(map(commands.op_bytes, ops))
        failed: KvError | None = None
        for (key, ttl_ms), fate in zip(wanted, await self._lane.written(Level.QUORUM, ops, size), strict=True):
            if isinstance(fate, KvError):
                # That a lease may have been granted is no unknown outcome of the put.
                failed = fate
                failed.outcome = "not_applied"
            else:
                if key in there:
                    self._drop(there[key][0])
                there[key] = (fate.result.revision, ttl_ms)  # type: ignore[union-attr]
        if failed is not None:
            self.unused(there)
            raise failed

    def unused(self, there: dict[bytes, tuple[int, int]]) -> None:
        """Leases that were granted for a write that was not made."""
        for lease, _ in there.values():
            self._drop(lease)
        there.clear()

    def held(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """The leases that `keys` are known to have, before a write of them is handed over."""
        of_key = self._of_key
        return {key: of_key[key] for key in keys if key in of_key} if of_key else {}

    def released(self, held: Mapping[bytes, int]) -> None:
        """The write was made, and took its keys off what they `held`."""
        for key, lease in held.items():
            if self._of_key.get(key) == lease:
                del self._of_key[key]
                self._drop(lease)

    def written(
        self,
        writes: Mapping[bytes, Put | None],
        there: Mapping[bytes, tuple[int, int]],
        held: Mapping[bytes, int],
    ) -> None:
        """`writes` were made, with the leases `there`."""
        off = {key: lease for key, lease in held.items() if (put := writes[key]) is None or put.lease != KEEP_LEASE}
        self.released(off)
        for key, put in writes.items():
            if put is not None and isinstance(put.lease, NewLease):
                self._of_key[key] = there[key][0]
                if len(self._of_key) > limits.REDIS_LEASES_KEPT_MAX:
                    del self._of_key[next(iter(self._of_key))]

    def _drop(self, lease: int) -> None:
        if len(self._unneeded) < limits.REDIS_LEASES_KEPT_MAX:
            self._unneeded.append(lease)
        if self._revoking is None:
            self._revoking = self._loop.create_task(self._revoke())

    async def _revoke(self) -> None:
        """Those that do not get through end by themselves."""
        try:
            while self._unneeded:
                some = self._unneeded[: limits.REDIS_RUN_COMMANDS_MAX]
                del self._unneeded[: len(some)]
                ops = [self._lane.checked(Level.QUORUM, commands.revoke(lease)) for lease in some]
                await self._lane.written(Level.QUORUM, ops, sum(map(commands.op_bytes, ops)))
        finally:
            self._revoking = None


def ttl_ms_of(amount: int, unit_ms: int, command: str) -> int:
    """A time to live in milliseconds, not below the shortest that a lease may have. Raises CommandError."""
    ttl_ms = amount * unit_ms
    if ttl_ms <= 0 or ttl_ms > limits.LEASE_TTL_MS_MAX:
        raise CommandError(f"invalid expire time in '{command}' command")
    return max(ttl_ms, limits.LEASE_TTL_MS_MIN)
