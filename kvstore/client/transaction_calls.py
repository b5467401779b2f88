"""Transactions, range deletes, compaction and watches, as methods of AsyncClient."""

import json
from collections.abc import Sequence

from kvstore import limits
from kvstore.client import txn
from kvstore.client.calls import JSON, Calls
from kvstore.client.endpoints import query
from kvstore.client.results import RangeDeleted, decode_json, parse_number, parse_range_deleted
from kvstore.client.watching import AsyncWatch
from kvstore.client.wire import Request
from kvstore.errors import BadRequest

_BODY = {**JSON, "Content-Type": "application/json"}


class TransactionCalls(Calls):
    """See AsyncClient."""

    async def txn(
        self,
        compare: Sequence[txn.Comparison] = (),
        then: Sequence[txn.Step] = (),
        otherwise: Sequence[txn.Step] = (),
        *,
        level: str = "quorum",
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> txn.TxnResult:
        """Carries out `then` if everything in `compare` holds, else `otherwise`, all of it at one revision; see
        `kvstore.client.txn` for what goes into them. A comparison that does not hold is no error.

        Raises LeaseNotFound for a put under a lease that is gone, TooLarge for one that changes too much.
        """
        body = txn.body(compare, then, otherwise)
        request = Request("POST", "/v1/txn", query([("level", level)]), _BODY, body, write=True)
        reply = await self._write(request, level, idempotency_key, timeout_s)
        return txn.parse(decode_json(reply.body, read=False), then, otherwise)

    async def delete_range(
        self,
        *,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        dry_run: bool = False,
        level: str = "quorum",
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> RangeDeleted:
        """Deletes the keys that begin with `prefix`, or those from `start` up to and without `end`, at one revision.
        `dry_run` only counts them. Raises TooLarge if they are too many for one revision.
        """
        if prefix is not None and (start is not None or end is not None):
            raise BadRequest("give a prefix, or start and end, not both")
        if prefix is None and start is None and end is None:
            raise BadRequest("say which keys: prefix, or start and end; an empty prefix is all of them")
        parameters = query(
            [
                ("prefix", prefix),
                ("start", start),
                ("end", end),
                ("dry_run", "true" if dry_run else None),
                ("level", level),
            ]
        )
        request = Request("DELETE", "/v1/kv", parameters, JSON, None, write=not dry_run)
        if dry_run:
            return parse_range_deleted((await self._send(request, timeout_s)).body)
        return parse_range_deleted((await self._write(request, level, idempotency_key, timeout_s)).body)

    async def compact(self, revision: int, *, timeout_s: float | None = None) -> int:
        """Forgets the history up to `revision`: what was before it can be neither read nor watched any more. Raises
        Compacted if it is forgotten already, or has not been reached.
        """
        body = json.dumps({"revision": revision}).encode()
        request = Request("POST", "/v1/compact", "", _BODY, body, write=True, named=True)
        return parse_number((await self._send(request, timeout_s)).body, "revision", read=False)

    def watch(
        self,
        key: bytes | None = None,
        *,
        prefix: bytes | None = None,
        start: int | None = None,
        previous: bool = False,
        patience_s: float | None = None,
        timeout_s: float | None = None,
    ) -> AsyncWatch:
        """Every change of `key`, or of all keys with `prefix` (empty: all keys), from revision `start` on, or from the
        moment when it begins: to be gone through with `async for`, better inside `async with`. It goes on over failures
        of nodes, and tells each change once, in order; see watching.py. `previous`: with the record before each.

        It begins within `timeout_s`, or raises as a read does. Later it waits for nodes for ever, or for `patience_s`.
        Raises Compacted, with the `revision` at which another watch can begin, where the history does not reach back.
        """
        if (key is None) == (prefix is None):
            raise BadRequest("watch one key, or all keys with a prefix: give key or prefix", read=True)
        if key == b"":
            raise BadRequest("the key is empty; an empty prefix watches all keys", read=True)
        if start is not None and not 0 < start <= limits.REVISION_MAX:
            raise BadRequest("start is a revision, above 0", read=True)
        return AsyncWatch(
            self._failover,
            self._transport,
            self._pacing,
            key=key,
            prefix=prefix,
            start=start,
            previous=previous,
            timeout_s=self._within(timeout_s),
            patience_s=patience_s,
        )
