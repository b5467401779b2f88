"""A bank: accounts that are created in one transaction, and transfers that read two of them and write both.

A transfer is conditioned on the revisions of both records that it read. All accounts are read by one range: at QUORUM,
at ONE, at a revision in the past, and in small pages, which have to stay at the revision of the first one.
"""

import json
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from kvjepsen.checking import bank
from kvjepsen.records import History
from kvjepsen.workloads.workload import READ_S_MAX, WRITE_S_MAX, Arena, Check, Worker, Workload, check_of
from kvstore.client import RangePage
from kvstore.client.txn import Put, TxnResult, exists, mod_revision
from kvstore.errors import KvError, LocalError

_BANK: Final = "bank/accounts"
_PREFIX: Final = b"bank/accounts/"
_ACCOUNTS: Final = {str(number): 100 for number in range(8)}
_AMOUNT_MAX: Final = 30
_PAGE_KEYS: Final = 3
_REVISIONS_KEPT: Final = 400

Balances = dict[str, int]


class Bank(Workload):
    """Eight clients, one bank."""

    name = "bank"
    title = "transfers between accounts in transactions; every read shows the same total"

    def __init__(self, arena: Arena, rate_hz: float) -> None:
        super().__init__(arena, rate_hz)
        self._created = False
        # At which the accounts are known to be there.
        self._revisions: deque[int] = deque(maxlen=_REVISIONS_KEPT)

    def keys(self) -> Iterable[str]:
        return [_BANK]

    async def work(self, worker: Worker) -> None:
        if not self._created:
            self._created = True
            await worker.transact("create", _BANK, _ACCOUNTS, lambda: _create(worker))
        elif (chance := worker.rng.random()) < 0.6:
            await self._transfer(worker)
        elif chance < 0.7:
            await self._look(worker, "whole", "quorum")
        elif chance < 0.8:
            await self._look(worker, "whole", "one")
        elif chance < 0.9:
            await worker.look(_BANK, lambda: self._in_pages(worker), dict, level="quorum", value="pages")
        elif self._revisions:
            revision = worker.rng.choice(self._revisions)
            await self._look(worker, "past", worker.rng.choice(("quorum", "one")), revision)

    async def _transfer(self, worker: Worker) -> None:
        start, end = worker.rng.sample(sorted(_ACCOUNTS), 2)
        keys = [_PREFIX + account.encode() for account in (start, end)]
        try:
            read = [await worker.client.get(key, timeout_s=READ_S_MAX) for key in keys]
        except (KvError, LocalError):
            return
        giver, taker = read
        if giver is None or taker is None:
            return
        amount = worker.rng.randint(1, _AMOUNT_MAX)
        left = json.loads(giver.value) - amount
        if left < 0:
            return
        compare = [mod_revision(key) == record.mod_revision for key, record in zip(keys, (giver, taker), strict=True)]
        then = [Put(keys[0], b"%d" % left), Put(keys[1], b"%d" % (json.loads(taker.value) + amount))]
        done = await worker.transact(
            "transfer",
            _BANK,
            {"from": start, "to": end, "amount": amount},
            lambda: worker.client.txn(compare, then, timeout_s=WRITE_S_MAX),
        )
        if done is not None and done.succeeded:
            self._revisions.append(done.revision)

    async def _look(self, worker: Worker, how: str, level: str, revision: int | None = None) -> None:
        await worker.look(
            _BANK,
            lambda: worker.client.range(prefix=_PREFIX, revision=revision, level=level, timeout_s=READ_S_MAX),
            _balances,
            level=level,
            value=how,
        )

    async def _in_pages(self, worker: Worker) -> Balances:
        balances: Balances = {}
        cursor: str | None = None
        while True:
            page = await worker.client.range(prefix=_PREFIX, limit=_PAGE_KEYS, cursor=cursor, timeout_s=READ_S_MAX)
            balances |= _balances(page)
            cursor = page.cursor
            if cursor is None:
                return balances

    async def final_read(self, worker: Worker, key: str, level: str, floor: int | None) -> None:
        if floor is not None:
            await worker.client.get(_PREFIX + b"0", level=level, min_revision=floor)
        await self._look(worker, "whole", level)

    @staticmethod
    def checks(history: History) -> list[Check]:
        promise = "every read shows the same total, and in the end each account has what its transfers make"
        return [check_of("bank", promise, bank.check(history), history)]


async def _create(worker: Worker) -> TxnResult:
    keys = {_PREFIX + account.encode(): balance for account, balance in _ACCOUNTS.items()}
    puts = [Put(key, b"%d" % balance) for key, balance in keys.items()]
    return await worker.client.txn([~exists(key) for key in keys], puts, timeout_s=WRITE_S_MAX)


def _balances(page: RangePage) -> Any:
    return {key.removeprefix(_PREFIX).decode(): json.loads(record.value) for key, record in page.records}
