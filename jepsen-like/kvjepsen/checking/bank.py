"""A bank: `transfer` of {"from", "to", "amount"} between accounts, `create` of all of them, and `read` of all balances.

Every read, at whatever level or revision, shows all accounts, the same total and no account below zero. In the end each
account has what the acknowledged transfers make of it, plus some of those whose outcome nobody knows, each once. This
is asked of each account by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import FINAL, History, Operation

# Beyond it the sums of what is unknown are not tried.
_SUMS_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bank(Result):
    """Transfers by outcome, and the reads that were judged, by how they were made."""

    acknowledged: int
    unknown: int
    refused: int
    reads: int
    reads_at_one: int
    reads_of_the_past: int
    reads_in_pages: int


def check(history: History) -> Bank:
    """Every bank (key) of the history. The `value` of a read is how it was made: "whole", "past" or "pages"."""
    found = Findings()
    transfers: list[Operation] = []
    judged: list[Operation] = []
    for operations in history.by_key().values():
        opened = next((op for op in operations if op.f == "create"), None)
        if opened is None:
            continue
        moved = [op for op in operations if op.f == "transfer"]
        reads = [op for op in operations if op.f == "read" and op.outcome == "ok"]
        for read in reads:
            _check_read(opened, read, found)
        for read in reads:
            if read.client == FINAL:
                _check_final(opened, moved, read, found)
        transfers += moved
        judged += reads
    return Bank(
        verdict=found.verdict(len(judged)),
        broken=len(found),
        findings=first(found),
        acknowledged=sum(op.outcome == "ok" for op in transfers),
        unknown=sum(op.outcome == "info" for op in transfers),
        refused=sum(op.outcome == "fail" for op in transfers),
        reads=len(judged),
        reads_at_one=sum(op.level == "one" for op in judged),
        reads_of_the_past=sum(op.value == "past" for op in judged),
        reads_in_pages=sum(op.value == "pages" for op in judged),
    )


def _check_read(opened: Operation, read: Operation, found: Findings) -> None:
    accounts: dict[str, int] = opened.value
    shown: dict[str, Any] = read.shown or {}
    if not shown:
        known = opened.outcome == "ok" and opened.ended < read.i
        if known and (read.linearizable or read.client == FINAL):
            found.note("missing", "a read shows no account, and they had been created", opened, read)
        return
    if shown.keys() != accounts.keys():
        problem = f"a read shows the accounts {sorted(shown)}; there are {sorted(accounts)}"
        found.note("accounts", problem, opened, read)
    elif sum(shown.values()) != sum(accounts.values()):
        problem = f"a read ({read.value}) shows {sum(shown.values())} in all; there is {sum(accounts.values())}"
        found.note("wrong total", problem, read)
    for account, balance in shown.items():
        if balance < 0:
            found.note("below zero", f"account {account} has {balance}", read)


def _check_final(opened: Operation, transfers: Sequence[Operation], read: Operation, found: Findings) -> None:
    for account, begun in opened.value.items():
        certain = begun + sum(_share(op, account) for op in transfers if op.outcome == "ok")
        open_shares = [_share(op, account) for op in transfers if op.outcome == "info"]
        shown = (read.shown or {}).get(account, 0)
        if not _is_sum(shown - certain, open_shares):
            problem = f"account {account} has {shown} in the end; acknowledged transfers make {certain}"
            found.note("wrong balance", problem, read)


def _share(transfer: Operation, account: str) -> int:
    """What a transfer does to an account."""
    asked = transfer.value
    amount = int(asked["amount"])
    return amount * (int(account == asked["to"]) - int(account == asked["from"]))


def _is_sum(total: int, shares: Sequence[int]) -> bool:
    """Whether it is the sum of some of them. Bit n of `sums` stands for the sum n above the lowest possible one."""
    if sum(map(abs, shares)) > _SUMS_MAX:
        return True
    above = total - sum(share for share in shares if share < 0)
    sums = 1
    for share in shares:
        sums |= sums << abs(share)
    return above >= 0 and bool(sums >> above & 1)
