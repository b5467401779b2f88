"""`kv elect`: campaigns, and runs a command while leading; or tells who leads."""

from typing import TYPE_CHECKING

import click

from kvcli import output
from kvcli.child import WithCommand, child_command, run_while_held
from kvcli.exit_codes import Exit
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvcli.output import Mode, printable
from kvcli.pages import command

if TYPE_CHECKING:
    from kvstore.client import AsyncClient, Leader


@command(cls=WithCommand, short_help="Run a command while leading.", options_metavar="[OPTIONS]")
@click.argument("name")
@click.argument("value", required=False, default="")
@click.option(
    "--ttl",
    type=click.FloatRange(min=1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="A leader that is silent for so long leads no more.",
)
@click.option("--listen", is_flag=True, help="Do not campaign: print who leads, now and at every change.")
@global_options
def elect(name: str, value: str, ttl: float, listen: bool) -> int:
    """Campaign in the election NAME, with VALUE for others to read; once elected, run the command behind -- and resign
    when it ends: kv elect NAME [VALUE] -- CMD ARGUMENT... Without a command, lead until interrupted.

    The exit code is that of the command. KV_LOCK_TOKEN and KV_LOCK_KEY are as for 'kv lock'; so is what happens when
    leadership is lost. With --listen, a line for each change: the token, the value.
    """
    command, mode = child_command(), settings().output
    if listen and command:
        raise click.UsageError("--listen runs no command")
    try:
        if listen:
            return run_with_client(lambda client: _listen(client, key_bytes(name), mode))
        return run_with_client(lambda client: _lead(client, key_bytes(name), key_bytes(value), ttl, command, mode))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED


async def _lead(client: "AsyncClient", name: bytes, value: bytes, ttl: float, command: list[str], mode: Mode) -> int:
    from kvstore.client import Leader

    election = client.elect(name, value, ttl)
    await election.campaign()
    try:
        if not command:
            _show(Leader(value, election.key, election.token), mode)
            await election.wait_lost()
            election.check()
        environment = {
            "KV_LOCK_TOKEN": str(election.token),
            "KV_LOCK_KEY": election.key.decode("utf-8", "surrogateescape"),
        }
        return await run_while_held(command, environment, election.wait_lost, "leadership")
    finally:
        await election.resign()


async def _listen(client: "AsyncClient", name: bytes, mode: Mode) -> int:
    async for leader in client.elect(name).observe():
        _show(leader, mode)
    return Exit.OK


def _show(leader: "Leader | None", mode: Mode) -> None:
    if mode is Mode.JSON:
        from kvstore.client.results import key_json, text_json

        shape = None if leader is None else key_json(leader.key) | text_json("value", leader.value)
        output.write_json(shape if leader is None or shape is None else {**shape, "token": leader.token})
    elif leader is None:
        output.write_line("nobody leads")
    else:
        output.write_line(f"{leader.token}\t{printable(leader.value)}")
    output.flush()
