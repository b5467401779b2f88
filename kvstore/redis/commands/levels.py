"""The levels of a connection, receipts of writes at level ONE, and WAIT."""

import asyncio
from typing import Final

from kvstore import limits
from kvstore.model.levels import Level
from kvstore.redis.command import Client, Command
from kvstore.redis.commands.arguments import integer
from kvstore.redis.problems import CommandError
from kvstore.redis.replies import OK, Reply


def readonly(client: Client, arguments: list[bytes]) -> Reply:
    """READONLY"""
    client.session.read_level = Level.ONE
    return OK


def readwrite(client: Client, arguments: list[bytes]) -> Reply:
    """READWRITE"""
    client.session.read_level = Level.QUORUM
    return OK


def level(client: Client, arguments: list[bytes]) -> Reply:
    """KV.LEVEL [one | quorum | all]"""
    session = client.session
    if len(arguments) == 1:
        return [session.write_level.value, session.read_level.value]
    try:
        chosen = Level(arguments[1].lower().decode("ascii", "replace"))
    except ValueError:
        raise CommandError("a level is one, quorum or all") from None
    if len(arguments) > 2:
        raise CommandError("syntax error")
    session.write_level = session.read_level = chosen
    return OK


async def receipt(client: Client, arguments: list[bytes]) -> Reply:
    """KV.RECEIPT [id]"""
    if len(arguments) == 1:
        return client.session.receipt
    if len(arguments) > 2:
        raise CommandError("syntax error")
    found = await client.services.store.receipt(
        arguments[1].decode("ascii", "replace"), timeout_s=limits.REDIS_COMMAND_S_MAX
    )
    return {"id": found.id, "state": found.state, "revision": found.revision, "reason": found.reason}


async def wait(client: Client, arguments: list[bytes]) -> Reply:
    """WAIT numreplicas timeout"""
    wanted, timeout_ms = integer(arguments[1]), integer(arguments[2])
    if timeout_ms < 0:
        raise CommandError("timeout is negative")
    store = client.services.store
    loop = asyncio.get_running_loop()
    until = loop.time() + (min(timeout_ms, limits.TIMEOUT_MS_MAX) or limits.TIMEOUT_MS_MAX) / 1_000
    pause_s = limits.REDIS_WAIT_POLL_S_MIN
    index: int | None = None
    while True:
        count = 0
        if index is None and await _is_applied(client):
            index = store.read_now(arguments[0], Level.QUORUM).applied_index
        if index is not None:
            view = await store.cluster()
            count = sum(
                each.voter and each.applied_index is not None and each.applied_index >= index for each in view.members
            )
        if count >= wanted or loop.time() >= until:
            return count
        # Others apply when they do: there is no event to wait for, only a question to repeat.
        await asyncio.sleep(min(pause_s, max(until - loop.time(), 0)))
        pause_s = min(2 * pause_s, limits.REDIS_WAIT_POLL_S_MAX)


async def _is_applied(client: Client) -> bool:
    """Whether this node has applied what the connection wrote last."""
    store, written = client.services.store, client.session.receipt
    if written is not None:
        told = await store.receipt(written, timeout_s=limits.REDIS_COMMAND_S_MAX)
        if told.state == "pending":
            return False
        client.session.receipt = None
    await client.services.changes.fresh(Level.QUORUM, ())
    return True


_NONE: Final = (0, 0, 0)
_FAST: Final = ("loading", "stale", "fast")

COMMANDS: Final = (
    Command(
        "READONLY",
        1,
        _NONE,
        _FAST,
        "cluster",
        "3.0.0",
        "Reads at level `one` from now on: from this node, at once.",
        "Without a Redis cluster, too.",
        local=readonly,
        needs="known",
    ),
    Command(
        "READWRITE",
        1,
        _NONE,
        _FAST,
        "cluster",
        "3.0.0",
        "Reads at level `quorum` from now on.",
        local=readwrite,
        needs="known",
    ),
    Command(
        "KV.LEVEL",
        -1,
        _NONE,
        _FAST,
        "kvstore",
        "1.0.0",
        "The level of writes and that of reads; with `one`, `quorum` or `all`: both are that from now on.",
        "Not in Redis.",
        local=level,
        needs="known",
    ),
    Command(
        "KV.RECEIPT",
        -1,
        _NONE,
        ("stale",),
        "kvstore",
        "1.0.0",
        "The receipt of the last write at level `one`; with a receipt: what became of it.",
        "Not in Redis.",
        served=receipt,
        needs="known",
    ),
    Command(
        "WAIT",
        3,
        _NONE,
        ("blocking",),
        "generic",
        "3.0.0",
        "How many voters have applied what this connection wrote last.",
        "Every voter counts, the leader and this node among them: all of three nodes is 3. Not above "
        f"{limits.TIMEOUT_MS_MAX // 1_000} s, which timeout 0 means, too.",
        served=wait,
        needs="known",
    ),
)
