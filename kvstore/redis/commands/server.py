"""What the node tells about itself."""

import os
import time
from collections.abc import Awaitable, Callable
from typing import Final

from kvstore import __version__, limits
from kvstore.errors import KvError
from kvstore.model.levels import Level
from kvstore.redis.command import Client, Command
from kvstore.redis.commands.arguments import upper
from kvstore.redis.glob import Glob
from kvstore.redis.problems import CommandError
from kvstore.redis.replies import Reply, Simple
from kvstore.redis.services import Services

REDIS_VERSION: Final = "7.0.0"
"""Whose commands' forms are followed; clients ask for it to know what they may send."""


def time_(client: Client, arguments: list[bytes]) -> Reply:
    """TIME"""
    now_us = time.time_ns() // 1_000
    return [str(now_us // 1_000_000), str(now_us % 1_000_000)]


# -- COMMAND


def command(client: Client, arguments: list[bytes]) -> Reply:
    """COMMAND [subcommand]"""
    table = client.services.commands
    if len(arguments) == 1:
        return [_row(each) for each in table.values()]
    name = upper(arguments[1])
    asked = [upper(each) for each in arguments[2:]]
    if name == "COUNT":
        return len(table)
    if name == "LIST":
        return [each.lower() for each in table]
    if name == "INFO":
        return [_row(table[each]) if each in table else None for each in asked or table]
    if name == "DOCS":
        return {each.lower(): _docs(table[each]) for each in asked or table if each in table}
    raise CommandError(f"COMMAND {name} is not supported")


def _row(each: Command) -> Reply:
    first, last, step = each.keys
    return [
        each.name.lower(),
        each.arity,
        [Simple(flag.encode()) for flag in each.flags],
        first,
        last,
        step,
        [],
        [],
        [],
        [],
    ]


def _docs(each: Command) -> Reply:
    return {"summary": each.summary.replace("`", ""), "since": each.since, "group": each.group}


# -- CONFIG


def config(client: Client, arguments: list[bytes]) -> Reply:
    """CONFIG GET pattern..."""
    name = upper(arguments[1])
    if name != "GET":
        raise CommandError(f"CONFIG {name} is not supported: settings are given to kv serve (docs/configuration.md)")
    if len(arguments) < 3:
        raise CommandError("wrong number of arguments for 'config|get' command")
    globs = [Glob(each.lower()) for each in arguments[2:]]
    return {key: value for key, value in _CONFIG.items() if any(each.matches(key.encode()) for each in globs)}


_CONFIG: Final = {
    "appendfsync": "always",
    "appendonly": "yes",
    "databases": "1",
    "maxclients": str(limits.REDIS_CONNECTIONS_MAX),
    "maxmemory": "0",
    "maxmemory-policy": "noeviction",
    "notify-keyspace-events": "KEg$",
    "proto-max-bulk-len": str(limits.VALUE_BYTES_MAX),
    "save": "",
    "timeout": "0",
}


# -- INFO


async def info(client: Client, arguments: list[bytes]) -> Reply:
    """INFO [section...]"""
    asked = {upper(each).lower() for each in arguments[1:]}
    every = not asked or not asked.isdisjoint(("default", "all", "everything"))
    sections = [
        f"# {title}\r\n" + "".join(f"{key}:{value}\r\n" for key, value in (await tell(client)).items())
        for title, tell in _SECTIONS.items()
        if every or title.lower() in asked
    ]
    return "\r\n".join(sections)


_Section = dict[str, object]


async def _server(client: Client) -> _Section:
    services: Services = client.services
    up_s = int(time.monotonic() - services.since_s)
    return {
        "redis_version": REDIS_VERSION,
        "redis_mode": "standalone",
        "kvstore_version": __version__,
        "process_id": os.getpid(),
        "tcp_port": services.port,
        "uptime_in_seconds": up_s,
        "uptime_in_days": up_s // 86_400,
    }


async def _clients(client: Client) -> _Section:
    sessions = client.services.peers.sessions()
    return {
        "connected_clients": len(sessions),
        "maxclients": limits.REDIS_CONNECTIONS_MAX,
        "pubsub_clients": sum(bool(session.subscriptions) for session in sessions),
    }


async def _stats(client: Client) -> _Section:
    services = client.services
    return {
        "total_connections_received": services.connections_total,
        "rejected_connections": services.refused_total,
        "total_commands_processed": services.meter.total,
    }


async def _replication(client: Client) -> _Section:
    """Every node takes writes, so each is a master to a client of Redis; who leads stands below its own names."""
    view = await client.services.store.cluster()
    return {
        "role": "master",
        "connected_slaves": 0,
        "kv_node": view.node,
        "kv_leader": view.leader or "",
        "kv_term": view.term,
        "kv_commit_index": view.commit_index,
        "kv_revision": view.revision,
        "kv_members": len(view.members),
        "kv_members_reachable": sum(member.reachable for member in view.members),
    }


async def _keyspace(client: Client) -> _Section:
    """As this node has applied it."""
    try:
        page = await client.services.store.range(
            b"",
            None,
            level=Level.ONE,
            limit=1,
            after=None,
            reverse=False,
            revision=None,
            count=None,
            timeout_s=limits.REDIS_COMMAND_S_MAX,
        )
    except KvError:  # a node that is no voter does not answer for itself
        return {}
    return {"db0": f"keys={page.count}"} if page.count else {}


_SECTIONS: Final[dict[str, Callable[[Client], Awaitable[_Section]]]] = {
    "Server": _server,
    "Clients": _clients,
    "Stats": _stats,
    "Replication": _replication,
    "Keyspace": _keyspace,
}

_NONE: Final = (0, 0, 0)
_STALE: Final = ("loading", "stale")

COMMANDS: Final = (
    Command(
        "TIME",
        1,
        _NONE,
        ("loading", "stale", "fast"),
        "server",
        "2.6.0",
        "This node's clock.",
        local=time_,
        needs="known",
    ),
    Command(
        "COMMAND",
        -1,
        _NONE,
        _STALE,
        "server",
        "2.8.13",
        "This table. COUNT, LIST, INFO, DOCS.",
        "No other ones.",
        local=command,
        needs="known",
    ),
    Command(
        "CONFIG",
        -2,
        _NONE,
        ("admin", *_STALE),
        "server",
        "2.0.0",
        "GET: a few values, as they are here.",
        "SET is refused: see configuration.md.",
        local=config,
        needs="known",
    ),
    Command(
        "INFO",
        -1,
        _NONE,
        _STALE,
        "server",
        "1.0.0",
        "Server, clients, stats, replication, keyspace.",
        f"Short. `redis_version` ({REDIS_VERSION}) says whose commands' forms are followed.",
        served=info,
        needs="known",
    ),
)
