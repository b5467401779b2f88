"""`kv status`: the members of the cluster as one node sees them."""

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from kvcli import output
from kvcli.exit_codes import Exit, explain
from kvcli.live import interval_option
from kvcli.nobody import advice
from kvcli.options import Settings, global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import command
from kvstore.errors import CannotConnect, KvError, LocalError

if TYPE_CHECKING:
    from rich.text import Text

    from kvstore.client import AsyncClient

_COLUMNS: Final = ["NAME", "ROLE", "VOTER", "UP", "ENDPOINT", "MATCH", "APPLIED", "PENDING"]


@command(short_help="Show the members of the cluster.")
@click.option("--watch", is_flag=True, help="Again and again, until q or Ctrl-C; off a terminal one below the other.")
@interval_option(1.0, "With --watch: how often.")
@global_options
def status(watch: bool, interval_s: float) -> int:
    """Show leader, term, revision and every member, as the node that answers sees them.

    UP says whether that node reaches it. MATCH is the last log entry that the leader knows to be on that member,
    APPLIED the last one that it has applied. PENDING are writes at level one that it has taken and not yet handed over.
    Alarms stand below.
    """
    if not watch:
        show_cluster()
        return Exit.OK
    try:
        asyncio.run(_watch(settings(), interval_s))
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    return Exit.OK


def show_cluster() -> None:
    """Ask for the cluster and write it in the chosen form."""
    _show(run_with_client(lambda client: client.cluster_document()), settings().output)


def _show(document: dict[str, Any], mode: Mode) -> None:
    if mode in (Mode.JSON, Mode.RAW):
        output.write_json(document)
        return
    output.write_line(_head(document))
    output.write_rows(_COLUMNS, _rows(document), mode)
    for line in _alarms(document):
        output.write_line(line)


async def _watch(chosen: Settings, interval_s: float) -> None:
    from kvcli.live import redraw

    async with chosen.client(who=chosen.who) as client:
        if sys.stdout.isatty() and chosen.output is Mode.SIMPLE:
            await redraw(lambda: _picture(client), interval_s)
            return
        while True:
            _show(await client.cluster_document(), chosen.output)
            output.flush()
            await asyncio.sleep(interval_s)


async def _picture(client: "AsyncClient") -> "Text":
    """What there is to see; a cluster that does not answer is something to see, too."""
    from rich.text import Text

    try:
        document = await client.cluster_document()
    except (KvError, LocalError) as failed:
        lines = advice(settings().endpoints) if isinstance(failed, CannotConnect) else []
        return Text("\n".join([explain(failed), *lines]), style="red")
    return Text("\n".join([_head(document), *output.aligned(_COLUMNS, _rows(document)), *_alarms(document)]))


def _head(document: dict[str, Any]) -> str:
    return (
        f"leader {document.get('leader') or 'none'}, term {document.get('term')}, revision {document.get('revision')}, "
        f"commit index {document.get('commit_index')} (as {document.get('node')} sees it)"
    )


def _rows(document: dict[str, Any]) -> list[list[str]]:
    return [_row(member) for member in document.get("members", [])]


def _alarms(document: dict[str, Any]) -> list[str]:
    return [
        f"alarm {alarm.get('code')} on {alarm.get('node')}: {alarm.get('detail')}"
        for alarm in document.get("alarms", [])
    ]


def _row(member: dict[str, Any]) -> list[str]:
    names = ("name", "role", "voter", "reachable", "http", "match_index", "applied_index")
    # A member that does not answer does not say what it has.
    pending = member.get("intents_pending") if member.get("reachable") else None
    return [*(_cell(member.get(name)) for name in names), _cell(pending)]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
