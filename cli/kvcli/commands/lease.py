"""`kv lease`: leases, by their ids."""

import asyncio
from typing import TYPE_CHECKING

import click

from kvcli import completing, output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode, printable
from kvcli.pages import group
from kvstore import limits

if TYPE_CHECKING:
    from kvstore.client import AsyncClient

_ID = click.IntRange(1, limits.REVISION_MAX)


@group(short_help="Grant, keep alive, revoke, list and show leases.")
def lease() -> None:
    """Grant, keep alive, revoke, list and show leases. A key that is put under one ('kv put --lease') ends with it."""


@lease.command(short_help="A new lease.")
@click.argument(
    "ttl_seconds",
    metavar="SECONDS",
    type=click.FloatRange(limits.LEASE_TTL_MS_MIN / 1000, limits.LEASE_TTL_MS_MAX / 1000),
)
@global_options
def grant(ttl_seconds: float) -> None:
    """Grant a lease and print its id. It ends unless it is kept alive every SECONDS at least."""
    granted = run_with_client(lambda client: client.grant(ttl_seconds))
    if settings().output is Mode.JSON:
        output.write_json({"id": granted, "ttl_seconds": ttl_seconds})
    else:
        output.write_line(str(granted))


@lease.command(short_help="End a lease now.")
@click.argument("lease_id", metavar="ID", type=_ID, shell_complete=completing.leases)
@global_options
def revoke(lease_id: int) -> None:
    """End the lease ID, and its keys with it."""
    deleted = run_with_client(lambda client: client.revoke(lease_id))
    if settings().output is Mode.JSON:
        output.write_json({"id": lease_id, "deleted": deleted})
    else:
        output.write_line(f"revoked; {_keys(deleted)} went with it")


@lease.command("keep-alive", short_help="Keep a lease alive until interrupted.")
@click.argument("lease_id", metavar="ID", type=_ID, shell_complete=completing.leases)
@click.option("--once", is_flag=True, help="Once, and end.")
@global_options
def keep_alive(lease_id: int, once: bool) -> int:
    """Keep the lease ID alive until interrupted, a line each time. Exit code 1 when it is gone."""
    mode = settings().output
    return run_with_client(lambda client: _keep(client, lease_id, once, mode))


async def _keep(client: "AsyncClient", lease_id: int, once: bool, mode: Mode) -> int:
    while True:
        kept = await client.keep_alive([lease_id])
        if lease_id in kept.gone:
            output.message(f"there is no lease {lease_id}: it has expired or was revoked, or never was")
            return Exit.ABSENT
        ttl_seconds = kept.leases[lease_id]
        if mode is Mode.JSON:
            output.write_json({"id": lease_id, "ttl_seconds": ttl_seconds})
        else:
            output.write_line(f"lease {lease_id} lives for {ttl_seconds:g} s again")
        output.flush()
        if once:
            return Exit.OK
        await asyncio.sleep(ttl_seconds / 3)


@lease.command("list", short_help="The ids of all leases.")
@global_options
def list_() -> None:
    """Print the ids of all leases, one a line."""
    found = run_with_client(lambda client: client.leases())
    if settings().output is Mode.JSON:
        output.write_json({"leases": found})
        return
    for each in found:
        output.write_line(str(each))


@lease.command(short_help="A lease, and its keys.")
@click.argument("lease_id", metavar="ID", type=_ID, shell_complete=completing.leases)
@global_options
def show(lease_id: int) -> None:
    """Print what is left of the lease ID, and the keys that go with it."""
    found = run_with_client(lambda client: client.lease_status(lease_id))
    mode = settings().output
    if mode is Mode.JSON:
        from kvstore.client.results import key_json

        output.write_json(found._asdict() | {"keys": [key_json(key) for key in found.keys]})
        return
    output.write_line(f"{found.remaining_seconds:.1f} s of {found.ttl_seconds:g} s are left; {_keys(len(found.keys))}")
    for key in found.keys:
        output.write_line(printable(key))


def _keys(count: int) -> str:
    return f"{count} key{'s' * (count != 1)}"
