"""MULTI and EXEC: what was queued is computed on one view and written in one transaction, at one revision.

WATCH remembers the mod_revision of keys; EXEC compares it in the same transaction.
"""

from typing import Final

from kvstore import limits
from kvstore.guard import rules
from kvstore.model.levels import Level
from kvstore.model.permissions import READ
from kvstore.redis.changes import WatchLost
from kvstore.redis.command import Client, Command
from kvstore.redis.problems import CommandError, too_large
from kvstore.redis.replies import NIL_ARRAY, OK, Reply


def multi(client: Client, arguments: list[bytes]) -> Reply:
    """MULTI"""
    session = client.session
    if session.queue is not None:
        raise CommandError("MULTI calls can not be nested")
    session.queue = []
    session.settle()
    return OK


def discard(client: Client, arguments: list[bytes]) -> Reply:
    """DISCARD"""
    if client.session.queue is None:
        raise CommandError("DISCARD without MULTI")
    client.session.end_transaction()
    return OK


async def exec_(client: Client, arguments: list[bytes]) -> Reply:
    """EXEC"""
    session, changes = client.session, client.services.changes
    if session.queue is None:
        raise CommandError("EXEC without MULTI")
    queue, aborted, watched = session.queue, session.aborted, session.watched
    session.end_transaction()
    if aborted:
        raise CommandError("Transaction discarded because of previous errors.", "EXECABORT")
    calls = [client.call(command, given) for command, given in queue if command.pure is not None]
    assert len(calls) == len(queue)
    try:
        if not any(command.writes for command, _ in queue):
            return await changes.carry_out(calls, session.read_level, watched)
        keys = [key for command, given in queue for key in command.keys_of(given)]
        return await changes.several(keys, calls, session.write_level, watched)
    except WatchLost:
        return NIL_ARRAY


async def watch(client: Client, arguments: list[bytes]) -> Reply:
    """WATCH key..."""
    session, services = client.session, client.services
    if session.queue is not None:
        raise CommandError("WATCH inside MULTI is not allowed")
    keys = [key for key in dict.fromkeys(arguments[1:]) if key not in session.watched]
    if len(session.watched) + len(keys) > limits.REDIS_WATCHED_KEYS_MAX:
        raise too_large(f"{limits.REDIS_WATCHED_KEYS_MAX} keys at most are watched")
    await services.changes.fresh(Level.QUORUM, keys)
    client.permit(rules.both(*(rules.on_key(READ, key) for key in keys)))
    for key in keys:
        record = services.store.record_now(key, Level.QUORUM)
        session.watched[key] = 0 if record is None else record.mod_revision
    return OK


def unwatch(client: Client, arguments: list[bytes]) -> Reply:
    """UNWATCH"""
    client.session.watched = {}
    return OK


_NONE: Final = (0, 0, 0)
_FLAGS: Final = ("noscript", "loading", "stale", "fast")

COMMANDS: Final = (
    Command("MULTI", 1, _NONE, _FLAGS, "transactions", "1.2.0", "Begins a transaction.", local=multi, needs="known"),
    Command(
        "EXEC",
        1,
        _NONE,
        ("noscript",),
        "transactions",
        "1.2.0",
        "Carries out what was queued, at one revision.",
        "See below for what may be queued.",
        served=exec_,
        needs="each",
    ),
    Command(
        "DISCARD", 1, _NONE, _FLAGS, "transactions", "2.0.0", "Gives the transaction up.", local=discard, needs="known"
    ),
    Command(
        "WATCH",
        -2,
        (1, -1, 1),
        _FLAGS,
        "transactions",
        "2.2.0",
        "EXEC answers nothing if one of the keys has changed.",
        f"{limits.REDIS_WATCHED_KEYS_MAX} keys at most, together with those that are written.",
        served=watch,
        needs="read",
    ),
    Command(
        "UNWATCH", 1, _NONE, _FLAGS, "transactions", "2.2.0", "Watches no key any more.", local=unwatch, needs="known"
    ),
)
