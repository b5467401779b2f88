"""Values: reading, writing, counting. All on a `View`, so that all of them may stand in a transaction."""

from typing import Final, NamedTuple

from kvstore.model.commands import KEEP_LEASE, NO_LEASE
from kvstore.redis.command import Client, Command
from kvstore.redis.commands.arguments import INTEGER_MAX, INTEGER_MIN, integer, options, value_of
from kvstore.redis.leases import ttl_ms_of
from kvstore.redis.problems import CommandError, syntax_error
from kvstore.redis.replies import OK, Reply
from kvstore.redis.view import Lease, NewLease, View


def get(view: View, arguments: list[bytes]) -> Reply:
    """GET key"""
    return view.get(arguments[1])


def mget(view: View, arguments: list[bytes]) -> Reply:
    """MGET key..."""
    return [view.get(key) for key in arguments[1:]]


def strlen(view: View, arguments: list[bytes]) -> Reply:
    """STRLEN key"""
    return len(view.get(arguments[1]) or b"")


class _SetOptions(NamedTuple):
    must_be_absent: bool
    must_exist: bool
    tells: bool
    lease: Lease


def _set_options(arguments: list[bytes]) -> _SetOptions:
    absent = exist = tells = False
    lease: Lease | None = None
    for name, rest in options(arguments, 3):
        if name in ("EX", "PX", "KEEPTTL") and lease is not None:
            raise syntax_error()
        if name in ("EX", "PX"):
            lease = NewLease(ttl_ms_of(integer(value_of(rest)), 1_000 if name == "EX" else 1, "set"))
        elif name == "KEEPTTL":
            lease = KEEP_LEASE
        elif name == "NX":
            absent = True
        elif name == "XX":
            exist = True
        elif name == "GET":
            tells = True
        elif name in ("EXAT", "PXAT", "IFEQ", "IFNE", "IFDEQ", "IFDNE"):
            raise CommandError(f"the option {name} of SET is not supported")
        else:
            raise syntax_error()
    if absent and exist:
        raise syntax_error()
    return _SetOptions(absent, exist, tells, NO_LEASE if lease is None else lease)


def set_(view: View, arguments: list[bytes]) -> Reply:
    """SET key value [NX | XX] [GET] [EX seconds | PX milliseconds | KEEPTTL]"""
    _, key, value, *more = arguments
    if not more:
        view.put(key, value, NO_LEASE)
        return OK
    asked = _set_options(arguments)
    old = view.get(key) if asked.tells else None
    if (asked.must_be_absent or asked.must_exist) and view.has(key) is asked.must_be_absent:
        return old
    view.put(key, value, asked.lease)
    return old if asked.tells else OK


def setnx(view: View, arguments: list[bytes]) -> Reply:
    """SETNX key value"""
    _, key, value = arguments
    if view.has(key):
        return 0
    view.put(key, value, NO_LEASE)
    return 1


def setex(view: View, arguments: list[bytes]) -> Reply:
    """SETEX key seconds value"""
    _, key, seconds, value = arguments
    view.put(key, value, NewLease(ttl_ms_of(integer(seconds), 1_000, "setex")))
    return OK


def psetex(view: View, arguments: list[bytes]) -> Reply:
    """PSETEX key milliseconds value"""
    _, key, milliseconds, value = arguments
    view.put(key, value, NewLease(ttl_ms_of(integer(milliseconds), 1, "psetex")))
    return OK


def getset(view: View, arguments: list[bytes]) -> Reply:
    """GETSET key value"""
    _, key, value = arguments
    old = view.get(key)
    view.put(key, value, NO_LEASE)
    return old


def getdel(view: View, arguments: list[bytes]) -> Reply:
    """GETDEL key"""
    old = view.get(arguments[1])
    if old is not None:
        view.delete(arguments[1])
    return old


def _pairs(arguments: list[bytes]) -> list[tuple[bytes, bytes]]:
    if len(arguments) % 2 == 0:
        raise CommandError(f"wrong number of arguments for '{arguments[0].decode('ascii', 'replace').lower()}' command")
    return list(zip(arguments[1::2], arguments[2::2], strict=True))


def mset(view: View, arguments: list[bytes]) -> Reply:
    """MSET key value..."""
    for key, value in _pairs(arguments):
        view.put(key, value, NO_LEASE)
    return OK


async def serve_mset(client: Client, arguments: list[bytes]) -> Reply:
    """The same by itself: nothing is compared, so nobody's turn need be waited for."""
    _pairs(arguments)
    changes = client.services.changes
    (reply,) = await changes.carry_out(
        [client.call(client.services.commands["MSET"], arguments)], client.session.write_level, {}
    )
    return reply


def msetnx(view: View, arguments: list[bytes]) -> Reply:
    """MSETNX key value..."""
    pairs = _pairs(arguments)
    if any(view.has(key) for key, _ in pairs):
        return 0
    for key, value in pairs:
        view.put(key, value, NO_LEASE)
    return 1


def append(view: View, arguments: list[bytes]) -> Reply:
    """APPEND key value"""
    _, key, value = arguments
    whole = (view.get(key) or b"") + value
    view.put(key, whole)
    return len(whole)


def _add(view: View, key: bytes, amount: int) -> Reply:
    present = view.get(key)
    value = amount + (0 if present is None else integer(present))
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise CommandError("increment or decrement would overflow")
    view.put(key, b"%d" % value)
    return value


def incr(view: View, arguments: list[bytes]) -> Reply:
    """INCR key"""
    return _add(view, arguments[1], 1)


def decr(view: View, arguments: list[bytes]) -> Reply:
    """DECR key"""
    return _add(view, arguments[1], -1)


def incrby(view: View, arguments: list[bytes]) -> Reply:
    """INCRBY key increment"""
    return _add(view, arguments[1], integer(arguments[2]))


def decrby(view: View, arguments: list[bytes]) -> Reply:
    """DECRBY key decrement"""
    amount = integer(arguments[2])
    if amount == INTEGER_MIN:
        raise CommandError("decrement would overflow")
    return _add(view, arguments[1], -amount)


_ONE: Final = (1, 1, 1)
_READ: Final = ("readonly", "fast")
_WRITE: Final = ("write", "denyoom", "fast")
_MODIFY: Final = ("write", "denyoom")
_TTL: Final = "Times to live: see below."

COMMANDS: Final = (
    Command("GET", 2, _ONE, _READ, "string", "1.0.0", "The value of a key.", pure=get, needs="read"),
    Command(
        "SET",
        -3,
        _ONE,
        _MODIFY,
        "string",
        "1.0.0",
        "Gives a key a value. Options: NX, XX, GET, EX, PX, KEEPTTL.",
        "EXAT and PXAT are not supported. At level `one` it takes no options.",
        pure=set_,
        needs="write",
    ),
    Command(
        "SETNX", 3, _ONE, _WRITE, "string", "1.0.0", "Gives a key a value if it is absent.", pure=setnx, needs="write"
    ),
    Command(
        "SETEX", 4, _ONE, _MODIFY, "string", "2.0.0", "A value and a time to live.", _TTL, pure=setex, needs="write"
    ),
    Command(
        "PSETEX", 4, _ONE, _MODIFY, "string", "2.6.0", "The same in milliseconds.", _TTL, pure=psetex, needs="write"
    ),
    Command(
        "GETSET",
        3,
        _ONE,
        _WRITE,
        "string",
        "1.0.0",
        "Gives a key a value; its old one.",
        pure=getset,
        needs="read write",
    ),
    Command(
        "GETDEL",
        2,
        _ONE,
        ("write", "fast"),
        "string",
        "6.2.0",
        "Deletes a key; its value.",
        pure=getdel,
        needs="read delete",
    ),
    Command(
        "MGET",
        -2,
        (1, -1, 1),
        _READ,
        "string",
        "1.0.0",
        "The values of many keys, all at one revision.",
        pure=mget,
        needs="read",
    ),
    Command(
        "MSET",
        -3,
        (1, -1, 2),
        _MODIFY,
        "string",
        "1.0.1",
        "Gives many keys their values, at one revision.",
        "128 keys at most.",
        pure=mset,
        served=serve_mset,
        needs="write",
    ),
    Command(
        "MSETNX",
        -3,
        (1, -1, 2),
        _MODIFY,
        "string",
        "1.0.1",
        "The same if all of them are absent.",
        "64 keys at most.",
        pure=msetnx,
        needs="write",
    ),
    Command("STRLEN", 2, _ONE, _READ, "string", "2.2.0", "The length of a value in bytes.", pure=strlen, needs="read"),
    Command(
        "APPEND",
        3,
        _ONE,
        _WRITE,
        "string",
        "2.0.0",
        "Puts bytes behind a value; its new length.",
        pure=append,
        needs="read write",
    ),
    Command(
        "INCR", 2, _ONE, _WRITE, "string", "1.0.0", "Adds one to a number of 64 bits.", pure=incr, needs="read write"
    ),
    Command("INCRBY", 3, _ONE, _WRITE, "string", "1.0.0", "Adds to a number.", pure=incrby, needs="read write"),
    Command("DECR", 2, _ONE, _WRITE, "string", "1.0.0", "Takes one off a number.", pure=decr, needs="read write"),
    Command("DECRBY", 3, _ONE, _WRITE, "string", "1.0.0", "Takes off a number.", pure=decrby, needs="read write"),
)
