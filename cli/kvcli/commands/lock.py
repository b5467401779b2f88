"""`kv lock`: runs a command while holding a lock."""

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

import click

from kvcli import output
from kvcli.child import WithCommand, child_command, run_while_held
from kvcli.exit_codes import Exit
from kvcli.options import global_options, key_bytes, run_with_client
from kvcli.output import printable
from kvcli.pages import command

if TYPE_CHECKING:
    from kvstore.client import AsyncClient

# Who waits longer is told whom for, within a time in which that is still of use.
_PATIENT_S: Final = 1.0
_ASK_S: Final = 2.0


@command(cls=WithCommand, short_help="Run a command while holding a lock.", options_metavar="[OPTIONS]")
@click.argument("name")
@click.option(
    "--ttl",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="A holder that is silent for so long loses the lock.",
)
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Give up when it is not our turn by then. [default: wait for ever]",
)
@global_options
def lock(name: str, ttl: float, wait_s: float | None) -> int:
    """Wait for the lock NAME, run the command behind --, and give the lock back: kv lock NAME -- CMD ARGUMENT...

    The exit code is that of the command; 4 if the lock was not to be had by --wait. KV_LOCK_TOKEN in its environment is
    the fencing token: each holder's is higher than those of all before. KV_LOCK_KEY is the holder's key, and
    KV_LOCK_TOKEN its create_revision: a 'kv txn' that compares the two is refused once the lock is lost. Its value says
    who holds the lock.

    When the lock is lost (this process stood still for longer than --ttl, or reached no majority), the command is ended
    with SIGTERM, after ten seconds with SIGKILL; the exit code is 5.
    """
    command = child_command()
    if not command:
        raise click.UsageError("say what to run: kv lock NAME -- CMD ARGUMENT...")
    return run_with_client(lambda client: _hold(client, key_bytes(name), ttl, wait_s, command))


async def _hold(client: "AsyncClient", name: bytes, ttl: float, wait_s: float | None, command: list[str]) -> int:
    held = client.lock(name, ttl, value=f"pid {os.getpid()} on {socket.gethostname()}".encode())
    telling = asyncio.create_task(_tell_whom_for(client, name))
    try:
        await held.acquire(wait_s)
    except TimeoutError:
        output.message(f"the lock is held by {await _holder(client, name) or 'another'}; nothing was run")
        return Exit.REFUSED
    finally:
        telling.cancel()
    try:
        environment = {"KV_LOCK_TOKEN": str(held.token), "KV_LOCK_KEY": held.key.decode("utf-8", "surrogateescape")}
        return await run_while_held(command, environment, held.wait_lost, "the lock")
    finally:
        await held.release()


async def _tell_whom_for(client: "AsyncClient", name: bytes) -> None:
    await asyncio.sleep(_PATIENT_S)
    holder = await _holder(client, name)
    if holder is not None:
        output.message(f"waiting for the lock, which is held by {holder}")


async def _holder(client: "AsyncClient", name: bytes) -> str | None:
    """Who has the lock, in words; None if nobody has, or it cannot be told. A lock is an election: see locks.py."""
    from kvstore.errors import KvError, LocalError

    try:
        owner = await client.elect(name, timeout_s=_ASK_S).leader()
    except (KvError, LocalError):
        return None
    if owner is None:
        return None
    said = printable(owner.value)
    return f"{said} (token {owner.token})" if said else f"the owner of token {owner.token}"
