"""A time to live never takes a key with it that has another one by now, whatever order the answers come in."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from kvstore.model import commands
from kvstore.model.commands import KEEP_LEASE, NO_LEASE, Op
from kvstore.model.levels import Level
from kvstore.model.results import OpResult
from kvstore.node.writes import Written
from kvstore.redis.lane import Lane
from kvstore.redis.leases import KeyLeases
from kvstore.redis.view import NewLease, Put


class Granting:
    """Grants leases 1, 2, 3, and notes which are revoked."""

    def __init__(self) -> None:
        self.next = 1
        self.revoked: list[int] = []

    def checked(self, level: Level, op: Op) -> Op:
        return op

    async def written(self, level: Level, ops: Sequence[Op], size: int) -> list[Any]:
        results = []
        for op in ops:
            if op[0] == commands.OP_REVOKE:
                self.revoked.append(op[1])
            results.append(Written(OpResult(0, self.next, 0), 2, 2))
            self.next += op[0] == commands.OP_GRANT
        return results


def leases(granting: Granting) -> KeyLeases:
    return KeyLeases(asyncio.get_running_loop(), cast(Lane, granting))


async def set_with_lease(kept: KeyLeases, key: bytes = b"k") -> int:
    there: dict[bytes, tuple[int, int]] = {}
    writes = {key: Put(b"v", NewLease(5_000))}
    await kept.granted(writes, there)
    kept.written(writes, there, kept.held(writes))
    return there[key][0]


async def test_what_an_overwrite_leaves_behind_is_revoked() -> None:
    granting = Granting()
    kept = leases(granting)
    first = await set_with_lease(kept)
    second = await set_with_lease(kept)
    kept.released(kept.held([b"k", b"other"]))
    await asyncio.sleep(0)
    assert granting.revoked == [first, second]
    assert len(kept) == 0


async def test_an_answer_that_comes_late_revokes_nothing_that_came_later() -> None:
    granting = Granting()
    kept = leases(granting)
    first = await set_with_lease(kept)
    held = kept.held([b"k"])  # a plain SET is handed over, and committed
    second = await set_with_lease(kept)  # committed behind it, and answered before it
    kept.released(held)
    await asyncio.sleep(0)
    assert granting.revoked == [first]
    assert kept.held([b"k"]) == {b"k": second}


async def test_a_key_that_keeps_its_lease_keeps_it() -> None:
    granting = Granting()
    kept = leases(granting)
    lease = await set_with_lease(kept)
    kept.written({b"k": Put(b"w", KEEP_LEASE)}, {}, kept.held([b"k"]))
    assert kept.held([b"k"]) == {b"k": lease}
    kept.written({b"k": Put(b"w", NO_LEASE)}, {}, kept.held([b"k"]))
    kept.written({b"k": None}, {}, kept.held([b"k"]))
    await asyncio.sleep(0)
    assert granting.revoked == [lease]


async def test_what_was_granted_for_a_write_that_was_not_made_is_revoked() -> None:
    granting = Granting()
    kept = leases(granting)
    there: dict[bytes, tuple[int, int]] = {}
    writes = {b"k": Put(b"v", NewLease(5_000)), b"l": Put(b"v", NO_LEASE), b"m": None}
    await kept.granted(writes, there)
    assert there == {b"k": (1, 5_000)}
    await kept.granted(writes, there)  # tried again with the same
    assert there == {b"k": (1, 5_000)}
    await kept.granted({b"k": Put(b"v", NewLease(6_000))}, there)
    assert there == {b"k": (2, 6_000)}
    kept.unused(there)
    await asyncio.sleep(0)
    assert (granting.revoked, there, len(kept)) == ([1, 2], {}, 0)
