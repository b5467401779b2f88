"""The store as one caller may use it (`kvstore.http.store.Store`): the same calls, each of them checked.

Nothing of the store is reached but by a method here, so that what has no rule cannot be called.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from kvstore import limits
from kvstore.errors import AuthChanged, DeadlineExceeded, KvError
from kvstore.guard import rules
from kvstore.guard.gate import Caller, Gate
from kvstore.guard.rules import Need
from kvstore.guard.streams import GuardedBackup, GuardedWatch
from kvstore.model.auth_commands import USER_PASSWORD
from kvstore.model.batches import BatchOp, BatchResult
from kvstore.model.commands import Once, Op
from kvstore.model.levels import Level
from kvstore.model.permissions import DELETE, READ
from kvstore.model.results import (
    ClusterView,
    LeaseAnswer,
    RangeAnswer,
    RangeDeleted,
    ReadAnswer,
    Receipt,
    TxnAnswer,
    WriteAnswer,
)
from kvstore.model.stamp import Stamp
from kvstore.node.checked import checked_at
from kvstore.state.auth import Auth

T = TypeVar("T")


class Checks:
    """Calls within somebody's rights."""

    def __init__(self, gate: Gate, caller: Caller) -> None:
        self.gate = gate
        self.caller = caller

    def check(self, need: Need) -> int:
        """The auth revision at which the caller may do it: 0 where auth is not enabled (any more). Raises Forbidden,
        Unauthenticated.
        """
        if not self.gate.enabled:
            return 0
        try:
            need(self.gate.rights(self.caller))
        except KvError:
            self.gate.denied_total += 1
            raise
        return self.gate.store.auth.revision

    async def writing(self, need: Need, call: Callable[[float], Awaitable[T]], timeout_s: float) -> T:
        """`call` with the seconds that it has, checked anew whenever users or roles have changed under it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        for _ in range(limits.AUTH_ROUNDS_MAX):
            at, seen = self.check(need), self.gate.store.auth.revision
            try:
                with checked_at(at):
                    return await call(max(until - loop.time(), 0.001))
            except AuthChanged:
                await self.changed(seen, until)
        raise AuthChanged("users or roles changed again and again while this was under way")

    async def changed(self, seen: int, until: float) -> None:
        """Wait until this node has applied what has changed since. Raises AuthChanged, if it does not in time."""
        left_s = until - asyncio.get_running_loop().time()
        try:
            await self.gate.store.auth_reached(seen + 1, timeout_s=max(left_s, 0.001))
        except DeadlineExceeded:
            raise AuthChanged("users or roles have changed, and this node has not heard how") from None

    async def reading(self, need: Need, call: Callable[[], Awaitable[T]]) -> T:
        """`call`, whose answer is told only if it still may be."""
        self.check(need)
        seen = self.gate.store.auth.revision
        answer = await call()
        if self.gate.store.auth.revision != seen:
            self.check(need)
        return answer


class GuardedTransactions:
    """See kvstore.http.store.TransactionStore."""

    def __init__(self, store: Any, checks: Checks) -> None:
        self._store = store
        self._checks = checks

    async def transact(self, op: Op, *, level: Level, timeout_s: float) -> TxnAnswer:
        need = rules.transaction(op)
        call = self._store.transactions.transact
        answer: TxnAnswer = await self._checks.writing(
            need, lambda left_s: call(op, level=level, timeout_s=left_s), timeout_s
        )
        return answer

    async def delete_range(
        self, start: bytes, end: bytes | None, *, level: Level, once: Once | None, timeout_s: float
    ) -> RangeDeleted:
        need = rules.on_range(DELETE, start, end)
        call = self._store.transactions.delete_range
        answer: RangeDeleted = await self._checks.writing(
            need, lambda left_s: call(start, end, level=level, once=once, timeout_s=left_s), timeout_s
        )
        return answer

    async def compact(self, revision: int, *, timeout_s: float) -> None:
        call = self._store.transactions.compact
        await self._checks.writing(rules.admin, lambda left_s: call(revision, timeout_s=left_s), timeout_s)


class GuardedLeases:
    """See kvstore.http.store.LeaseStore."""

    def __init__(self, store: Any, checks: Checks) -> None:
        self._leases = store.leases
        self._checks = checks

    async def grant(self, ttl_ms: int, *, once: Once | None, timeout_s: float) -> LeaseAnswer:
        answer: LeaseAnswer = await self._checks.writing(
            rules.lease, lambda left_s: self._leases.grant(ttl_ms, once=once, timeout_s=left_s), timeout_s
        )
        return answer

    async def keep_alive(self, leases: Sequence[int], *, timeout_s: float) -> list[int]:
        call = self._leases.keep_alive
        told: list[int] = await self._checks.reading(rules.lease, lambda: call(leases, timeout_s=timeout_s))
        return told

    async def lease(self, lease: int, *, timeout_s: float) -> LeaseAnswer:
        answer: LeaseAnswer = await self._checks.reading(
            rules.lease, lambda: self._leases.lease(lease, timeout_s=timeout_s)
        )
        # Keys that the caller may not read are not there for it.
        if not self._checks.gate.enabled:
            return answer
        rights = self._checks.gate.rights(self._checks.caller)
        return answer._replace(keys=tuple(key for key in answer.keys if rights.on_key(READ, key)))

    async def leases(self, *, timeout_s: float) -> list[int]:
        told: list[int] = await self._checks.reading(rules.lease, lambda: self._leases.leases(timeout_s=timeout_s))
        return told

    async def revoke(self, lease: int, *, once: Once | None, timeout_s: float) -> int:
        """The keys of the lease go with it: whoever ends it may delete them."""
        self._checks.check(rules.lease)
        keys = (await self._leases.lease(lease, timeout_s=timeout_s)).keys
        need = rules.both(rules.lease, rules.deletes_all(keys))
        deleted: int = await self._checks.writing(
            need, lambda left_s: self._leases.revoke(lease, once=once, timeout_s=left_s), timeout_s
        )
        return deleted


class GuardedStore:
    """`store`, a kvstore.http.store.Store that is an AuthStore, for `caller`."""

    def __init__(self, store: Any, gate: Gate, caller: Caller) -> None:
        self.name: str = store.name
        self._store = store
        self._checks = Checks(gate, caller)
        self._gate = gate

    @property
    def transactions(self) -> GuardedTransactions:
        return GuardedTransactions(self._store, self._checks)

    @property
    def leases(self) -> GuardedLeases:
        return GuardedLeases(self._store, self._checks)

    # -- keys

    async def put(
        self,
        key: bytes,
        value: bytes,
        *,
        level: Level,
        condition: int | None,
        once: Once | None,
        lease: int,
        timeout_s: float,
    ) -> WriteAnswer:
        answer: WriteAnswer = await self._checks.writing(
            rules.put(key, lease),
            lambda left_s: self._store.put(
                key, value, level=level, condition=condition, once=once, lease=lease, timeout_s=left_s
            ),
            timeout_s,
        )
        return answer

    async def delete(
        self, key: bytes, *, level: Level, condition: int | None, once: Once | None, timeout_s: float
    ) -> WriteAnswer:
        answer: WriteAnswer = await self._checks.writing(
            rules.on_key(DELETE, key),
            lambda left_s: self._store.delete(key, level=level, condition=condition, once=once, timeout_s=left_s),
            timeout_s,
        )
        return answer

    async def get(self, key: bytes, **how: Any) -> ReadAnswer:
        answer: ReadAnswer = await self._checks.reading(rules.on_key(READ, key), lambda: self._store.get(key, **how))
        return answer

    async def range(self, start: bytes, end: bytes | None, **how: Any) -> RangeAnswer:
        answer: RangeAnswer = await self._checks.reading(
            rules.on_range(READ, start, end), lambda: self._store.range(start, end, **how)
        )
        return answer

    async def batch(self, ops: Sequence[BatchOp], *, timeout_s: float) -> list[BatchResult]:
        """Each for itself: those that are not allowed are refused, the others carried out."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        results: dict[int, BatchResult] = {}
        left = dict(enumerate(ops))
        for _ in range(limits.AUTH_ROUNDS_MAX):
            seen, at = self._gate.store.auth.revision, 0
            for place, op in list(left.items()):
                try:
                    at = self._checks.check(rules.of_batch(op))
                except KvError as refused:
                    if op.kind == "get":
                        refused.outcome = None
                    results[place] = refused
                    del left[place]
            if not left:
                break
            with checked_at(at):
                told = await self._store.batch(list(left.values()), timeout_s=max(until - loop.time(), 0.001))
            for place, result in zip(list(left), told, strict=True):
                results[place] = result
                # A get that was read under rights that have changed since is asked anew, too.
                stale = left[place].kind == "get" and self._gate.store.auth.revision != seen
                if not isinstance(result, AuthChanged) and not stale:
                    del left[place]
            if not left:
                break
            if self._gate.store.auth.revision == seen:
                try:
                    await self._checks.changed(seen, until)
                except AuthChanged:
                    break
        for place, op in left.items():
            results[place] = AuthChanged("users or roles have changed", read=op.kind == "get")
        return [results[place] for place in range(len(ops))]

    async def watch(self, key: bytes, *, prefix: bool, start: int | None, timeout_s: float) -> GuardedWatch:
        need = rules.watched(key, prefix=prefix)
        watch = await self._checks.reading(
            need, lambda: self._store.watch(key, prefix=prefix, start=start, timeout_s=timeout_s)
        )
        return GuardedWatch(watch, self._gate, lambda: self._checks.check(need))

    # -- who only has to be somebody

    async def open_session(self, *, timeout_s: float) -> int:
        number: int = await self._checks.writing(
            rules.known, lambda left_s: self._store.open_session(timeout_s=left_s), timeout_s
        )
        return number

    async def close_session(self, session: int, *, timeout_s: float) -> None:
        await self._checks.writing(
            rules.known, lambda left_s: self._store.close_session(session, timeout_s=left_s), timeout_s
        )

    async def receipt(self, text: str, *, timeout_s: float) -> Receipt:
        answer: Receipt = await self._checks.reading(
            rules.known, lambda: self._store.receipt(text, timeout_s=timeout_s)
        )
        return answer

    async def settings(self, *, timeout_s: float) -> tuple[int, dict[str, int]]:
        told: tuple[int, dict[str, int]] = await self._checks.reading(
            rules.known, lambda: self._store.settings(timeout_s=timeout_s)
        )
        return told

    async def cluster(self) -> ClusterView:
        view: ClusterView = await self._checks.reading(rules.known, self._store.cluster)
        return view

    def trace_lines(self, since: int, limit: int) -> bytes:
        self._checks.check(rules.admin)
        lines: bytes = self._store.trace_lines(since, limit)
        return lines

    def ready(self) -> str | None:
        reason: str | None = self._store.ready()
        return reason

    def stamp(self) -> Stamp:
        stamp: Stamp = self._store.stamp()
        return stamp

    def heard(self, stamp: Stamp) -> None:
        self._store.heard(stamp)

    # -- administration

    async def change_setting(self, name: str, value: int, *, timeout_s: float) -> None:
        await self._checks.writing(
            rules.admin, lambda left_s: self._store.change_setting(name, value, timeout_s=left_s), timeout_s
        )

    async def backup(self, *, level: Level, timeout_s: float) -> GuardedBackup:
        backup = await self._checks.reading(rules.admin, lambda: self._store.backup(level=level, timeout_s=timeout_s))
        return GuardedBackup(backup, lambda: self._checks.check(rules.admin))

    async def add_member(self, name: str, peer: str, *, timeout_s: float) -> ClusterView:
        self._checks.check(rules.admin)
        view: ClusterView = await self._store.add_member(name, peer, timeout_s=timeout_s)
        return view

    async def remove_member(self, name: str, *, force: bool, timeout_s: float) -> tuple[ClusterView, int | None]:
        self._checks.check(rules.admin)
        told: tuple[ClusterView, int | None] = await self._store.remove_member(name, force=force, timeout_s=timeout_s)
        return told

    async def transfer_leader(self, name: str | None, *, timeout_s: float) -> ClusterView:
        self._checks.check(rules.admin)
        view: ClusterView = await self._store.transfer_leader(name, timeout_s=timeout_s)
        return view

    # -- users and roles (kvstore.guard.gate.AuthStore)

    @property
    def auth(self) -> Auth:
        self._checks.check(rules.admin)
        auth: Auth = self._store.auth
        return auth

    async def auth_now(self, *, timeout_s: float) -> Auth:
        auth: Auth = await self._checks.reading(rules.admin, lambda: self._store.auth_now(timeout_s=timeout_s))
        return auth

    async def change_auth(self, action: int, arguments: tuple[Any, ...], *, timeout_s: float) -> int:
        """Everybody may change the own password."""
        own = action == USER_PASSWORD and arguments[0] == self._checks.caller.user and arguments[1]
        revision: int = await self._checks.writing(
            rules.known if own else rules.admin,
            lambda left_s: self._store.change_auth(action, arguments, timeout_s=left_s),
            timeout_s,
        )
        return revision
