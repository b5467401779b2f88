"""Keys: whether they are there, deleting them, and walking over them."""

from typing import Final

from kvstore import limits
from kvstore.errors import KvError, NotFound
from kvstore.guard import rules
from kvstore.model import commands, transactions
from kvstore.model.commands import OP_DELETE
from kvstore.model.keys import prefix_end
from kvstore.model.levels import Level
from kvstore.model.permissions import READ
from kvstore.model.results import RangeAnswer, WriteAnswer
from kvstore.redis.command import Client, Command
from kvstore.redis.commands.arguments import integer, options, value_of
from kvstore.redis.glob import Glob
from kvstore.redis.problems import CommandError, syntax_error, too_large
from kvstore.redis.replies import Reply, Simple
from kvstore.redis.view import View

_STRING: Final = b"string"


def exists(view: View, arguments: list[bytes]) -> Reply:
    """EXISTS key..."""
    return sum([view.has(key) for key in arguments[1:]])


def type_(view: View, arguments: list[bytes]) -> Reply:
    """TYPE key"""
    return Simple(_STRING if view.has(arguments[1]) else b"none")


def delete(view: View, arguments: list[bytes]) -> Reply:
    """DEL key..."""
    gone = [key for key in dict.fromkeys(arguments[1:]) if view.has(key)]
    for key in gone:
        view.delete(key)
    return len(gone)


async def serve_delete(client: Client, arguments: list[bytes]) -> Reply:
    """The same by itself: what was there, the state machine tells."""
    keys = list(dict.fromkeys(arguments[1:]))
    lane, leases, level = client.services.lane, client.services.leases, client.session.write_level
    held = leases.held(keys)
    if level is Level.ONE:
        ops = [commands.delete(key) for key in keys]
        for fate in await lane.written(level, ops, sum(map(commands.op_bytes, ops))):
            if isinstance(fate, KvError):
                raise fate
            assert isinstance(fate, WriteAnswer)
            client.session.receipt = fate.receipt
        return len(keys)
    if len(keys) == 1:
        op = commands.delete(keys[0])
        try:
            await lane.one(level, lane.checked(level, op), commands.op_bytes(op))
        except NotFound:
            return 0
        leases.released(held)
        return 1
    if len(keys) > limits.TXN_OPS_MAX:
        raise too_large(f"{len(keys)} keys at one revision; at most {limits.TXN_OPS_MAX}")
    op = transactions.transaction((), [(OP_DELETE, key) for key in keys], ())
    result = await lane.one(level, lane.checked(level, op), commands.op_bytes(op))
    leases.released(held)
    return sum(transactions.unpacked(result.detail)[1])


async def _page(client: Client, glob: Glob, after: bytes | None, limit: int, page: RangeAnswer | None) -> RangeAnswer:
    """Keys that may match, behind `after`; at the revision of `page`, if there is one."""
    level = client.session.read_level
    if level is Level.ALL:
        raise CommandError("keys are walked over at level one or quorum", "ERR")
    need = rules.on_prefix(READ, glob.prefix)
    client.permit(need)
    found = await client.services.store.range(
        glob.prefix,
        prefix_end(glob.prefix),
        level=level,
        limit=limit,
        after=after,
        reverse=False,
        revision=None if page is None else page.revision,
        count=None if page is None else page.count,
        timeout_s=limits.REDIS_COMMAND_S_MAX,
    )
    client.permit(need)
    return found


def _glob(pattern: bytes) -> Glob:
    if len(pattern) > limits.REDIS_PATTERN_BYTES_MAX:
        raise too_large(f"a pattern has {limits.REDIS_PATTERN_BYTES_MAX:,} bytes at most")
    return Glob(pattern)


async def scan(client: Client, arguments: list[bytes]) -> Reply:
    """SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]"""
    cursors = client.services.cursors
    pattern, count, wanted = b"*", limits.REDIS_SCAN_COUNT_DEFAULT, _STRING
    for name, rest in options(arguments, 2):
        if name == "MATCH":
            pattern = value_of(rest)
        elif name == "COUNT":
            count = integer(value_of(rest))
        elif name == "TYPE":
            wanted = value_of(rest).lower()
        else:
            raise syntax_error()
    if count <= 0:
        raise syntax_error()
    after = cursors.key_of(arguments[1])
    if wanted != _STRING:
        return [b"0", []]
    glob = _glob(pattern)
    page = await _page(client, glob, after, min(count, limits.REDIS_SCAN_COUNT_MAX), None)
    found = [key for key, _ in page.records if glob.matches(key)]
    return [cursors.after(page.next_key), found]


async def keys(client: Client, arguments: list[bytes]) -> Reply:
    """KEYS pattern"""
    glob = _glob(arguments[1])
    found: list[bytes] = []
    after: bytes | None = None
    page: RangeAnswer | None = None
    pinned = client.session.read_level is not Level.ONE  # pending writes belong to no revision
    while page is None or after is not None:
        page = await _page(client, glob, after, limits.RANGE_LIMIT_MAX, page if pinned else None)
        found += [key for key, _ in page.records if glob.matches(key)]
        if len(found) > limits.REDIS_KEYS_MAX:
            raise too_large(f"more than {limits.REDIS_KEYS_MAX:,} keys match; walk over them with SCAN")
        after = page.next_key
    return found


async def dbsize(client: Client, arguments: list[bytes]) -> Reply:
    """DBSIZE"""
    return (await _page(client, Glob(b"*"), None, 1, None)).count


_ONE: Final = (1, 1, 1)
_MANY: Final = (1, -1, 1)
_READ: Final = ("readonly", "fast")
_AT_ONE: Final = (
    "128 keys at most. At level `one` it answers how many keys it was given: whether they were there is not known."
)

COMMANDS: Final = (
    Command(
        "DEL",
        -2,
        _MANY,
        ("write",),
        "generic",
        "1.0.0",
        "Deletes keys, at one revision.",
        _AT_ONE,
        pure=delete,
        served=serve_delete,
        at_one=True,
        needs="delete",
    ),
    Command(
        "UNLINK",
        -2,
        _MANY,
        ("write", "fast"),
        "generic",
        "4.0.0",
        "The same.",
        "As DEL.",
        pure=delete,
        served=serve_delete,
        at_one=True,
        needs="delete",
    ),
    Command(
        "EXISTS", -2, _MANY, _READ, "generic", "1.0.0", "How many of the keys are there.", pure=exists, needs="read"
    ),
    Command("TYPE", 2, _ONE, _READ, "generic", "1.0.0", "string, or none.", pure=type_, needs="read"),
    Command(
        "SCAN",
        -2,
        (0, 0, 0),
        ("readonly",),
        "generic",
        "2.8.0",
        "Walks over the keys, in their order. MATCH, COUNT, TYPE.",
        f"A cursor is known to the node that gave it, which keeps the last {limits.REDIS_SCAN_CURSORS_MAX:,}. COUNT is "
        f"{limits.REDIS_SCAN_COUNT_MAX:,} at most. Not at level `all`.",
        served=scan,
        needs="keys",
    ),
    Command(
        "KEYS",
        2,
        (0, 0, 0),
        ("readonly",),
        "generic",
        "1.0.0",
        "All keys that match a pattern, at one revision.",
        f"{limits.REDIS_KEYS_MAX:,} keys at most. Not at level `all`.",
        served=keys,
        needs="keys",
    ),
    Command(
        "DBSIZE",
        1,
        (0, 0, 0),
        _READ,
        "server",
        "1.0.0",
        "How many keys there are.",
        "Not at level `all`.",
        served=dbsize,
        needs="keys",
    ),
)
