"""What completes a word: keys, members and names from the running cluster, files, modes.

Called while somebody types, so: at most COMPLETE_S_MAX and COMPLETE_WORDS_MAX, never a prompt, and never a word about
what went wrong; nothing is completed then.
"""

import os
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

import click

from kvstore import limits

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from kvstore.client import AsyncClient

Complete = Callable[[click.Context, click.Parameter, str], "list[CompletionItem]"]


def _from_cluster(ask: "Callable[[AsyncClient, str], Coroutine[Any, Any, Iterable[str]]]") -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        import asyncio

        from kvcli.options import settings

        async def go() -> Iterable[str]:
            made = chosen.client(timeout_s=limits.COMPLETE_S_MAX, who=who, sessions=False)
            async with asyncio.timeout(limits.COMPLETE_S_MAX), made as client:
                return await ask(client, incomplete)

        try:
            with ctx.scope(cleanup=False):
                chosen = settings()
                who = chosen.who_unasked
                return _items(asyncio.run(go()), incomplete)
        except Exception:
            return []

    return complete


def _items(words: Iterable[str], incomplete: str) -> "list[CompletionItem]":
    from click.shell_completion import CompletionItem

    fitting = (word for word in words if word.startswith(incomplete))
    return [CompletionItem(word) for word, _ in zip(fitting, range(limits.COMPLETE_WORDS_MAX), strict=False)]


async def _keys(client: "AsyncClient", incomplete: str) -> list[str]:
    page = await client.range(prefix=os.fsencode(incomplete), limit=limits.COMPLETE_WORDS_MAX, level="one")
    texts = [os.fsdecode(key) for key, _ in page.records]
    # What a line of a shell cannot hold is not offered.
    return [text for text in texts if text.isprintable()]


async def _members(client: "AsyncClient", _incomplete: str) -> list[str]:
    return [member.name for member in (await client.cluster()).members]


async def _replicated(client: "AsyncClient", _incomplete: str) -> list[str]:
    return list((await client.settings())["settings"])


async def _leases(client: "AsyncClient", _incomplete: str) -> list[str]:
    return [str(each) for each in await client.leases()]


async def _users(client: "AsyncClient", _incomplete: str) -> list[str]:
    return [str(each["name"]) for each in await client.users()]


async def _roles(client: "AsyncClient", _incomplete: str) -> list[str]:
    return [str(each["name"]) for each in await client.roles()]


keys = _from_cluster(_keys)
members = _from_cluster(_members)
replicated = _from_cluster(_replicated)
leases = _from_cluster(_leases)
users = _from_cluster(_users)
roles = _from_cluster(_roles)


def nodes(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Nodes of the cluster in a directory."""
    from kvcluster.topology import Topology

    try:
        names = Topology.load(ctx.params["directory"]).names
    except Exception:
        return []
    return _items(["leader", *names], incomplete)


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Left to the shell."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def directories(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Left to the shell."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="dir")]


def modes(ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
    """Of output."""
    from kvcli.output import Mode

    return _items(Mode, incomplete)


def words(*known: str) -> Complete:
    """One of these."""
    return lambda ctx, param, incomplete: _items(known, incomplete)
