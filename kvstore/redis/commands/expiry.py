"""Times to live, on leases (`kvstore.redis.leases`)."""

from typing import Final

from kvstore.errors import LeaseNotFound
from kvstore.limits import REDIS_COMMAND_S_MAX
from kvstore.model.commands import NO_LEASE
from kvstore.model.levels import Level
from kvstore.redis.command import Client, Command
from kvstore.redis.commands.arguments import integer, options
from kvstore.redis.leases import ttl_ms_of
from kvstore.redis.problems import CommandError, syntax_error
from kvstore.redis.replies import Reply
from kvstore.redis.view import NewLease, View

_ABSENT: Final = -2
_FOR_EVER: Final = -1
_READS_MAX: Final = 4


def _expire(view: View, arguments: list[bytes], unit_ms: int, command: str) -> Reply:
    key, amount = arguments[1], integer(arguments[2])
    only_without = only_with = False
    for name, _ in options(arguments, 3):
        if name in ("GT", "LT"):
            raise CommandError(f"the option {name} of {command.upper()} is not supported")
        if name not in ("NX", "XX"):
            raise CommandError(f"Unsupported option {name}")
        only_without |= name == "NX"
        only_with |= name == "XX"
    if only_without and only_with:
        raise syntax_error()
    ttl_ms = 0 if amount <= 0 else ttl_ms_of(amount, unit_ms, command)
    value = view.get(key)
    if value is None:
        return 0
    if (only_without or only_with) and view.has_lease(key) is only_without:
        return 0
    if not ttl_ms:
        view.delete(key)
    else:
        view.put(key, value, NewLease(ttl_ms))
    return 1


def expire(view: View, arguments: list[bytes]) -> Reply:
    """EXPIRE key seconds [NX | XX]"""
    return _expire(view, arguments, 1_000, "expire")


def pexpire(view: View, arguments: list[bytes]) -> Reply:
    """PEXPIRE key milliseconds [NX | XX]"""
    return _expire(view, arguments, 1, "pexpire")


def persist(view: View, arguments: list[bytes]) -> Reply:
    """PERSIST key"""
    key = arguments[1]
    value = view.get(key)
    if value is None or not view.has_lease(key):
        return 0
    view.put(key, value, NO_LEASE)
    return 1


async def _left_ms(client: Client, key: bytes) -> int:
    store, level = client.services.store, client.session.read_level
    for _ in range(_READS_MAX):
        await client.services.changes.fresh(level, [key])
        record = store.record_now(key, level)
        if record is None:
            return _ABSENT
        if record.lease == NO_LEASE:
            return _FOR_EVER
        try:
            return (await store.leases.lease(record.lease, timeout_s=REDIS_COMMAND_S_MAX)).left_ms
        except LeaseNotFound:
            level = Level.QUORUM  # it has ended, and the key with it, or the key has another one by now
    return _ABSENT


async def ttl(client: Client, arguments: list[bytes]) -> Reply:
    """TTL key"""
    left_ms = await _left_ms(client, arguments[1])
    return left_ms if left_ms < 0 else (left_ms + 500) // 1_000


async def pttl(client: Client, arguments: list[bytes]) -> Reply:
    """PTTL key"""
    return await _left_ms(client, arguments[1])


_ONE: Final = (1, 1, 1)
_WRITE: Final = ("write", "fast")
_READ: Final = ("readonly", "fast")
_DIFFERS: Final = "GT and LT are not supported. Times to live: see below."
_ASKS: Final = "Asks the leader, at every level; not between MULTI and EXEC."

COMMANDS: Final = (
    Command(
        "EXPIRE",
        -3,
        _ONE,
        _WRITE,
        "generic",
        "1.0.0",
        "Sets a time to live. NX, XX.",
        _DIFFERS,
        pure=expire,
        needs="write",
    ),
    Command("PEXPIRE", -3, _ONE, _WRITE, "generic", "2.6.0", "In milliseconds.", _DIFFERS, pure=pexpire, needs="write"),
    Command(
        "TTL", 2, _ONE, _READ, "generic", "1.0.0", "What is left of it, in seconds.", _ASKS, served=ttl, needs="read"
    ),
    Command(
        "PTTL",
        2,
        _ONE,
        _READ,
        "generic",
        "2.6.0",
        "What is left of it, in milliseconds.",
        _ASKS,
        served=pttl,
        needs="read",
    ),
    Command(
        "PERSIST", 2, _ONE, _WRITE, "generic", "2.2.0", "Takes the time to live off a key.", pure=persist, needs="write"
    ),
)
