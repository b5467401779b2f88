"""`kv receipt`: what became of a write at level one."""

from typing import TYPE_CHECKING

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import command

if TYPE_CHECKING:
    from kvstore.model.results import Receipt

_EXITS = {"committed": Exit.OK, "pending": Exit.OK, "superseded": Exit.ABSENT, "unknown": Exit.UNKNOWN}
_MEANINGS = {
    "pending": "it is on the disk of the node that took it, and waits for a leader",
    "superseded": "it changed nothing: the key had been written at a later time",
    "superseded, conflict": "it changed nothing: another request had used its idempotency key",
    "unknown, lost": "the node that gave this receipt does not know the write, or is no member any more: read the key",
    "unknown, expired": "it was committed or superseded, so long ago that nobody remembers which: read the key",
}


@command(short_help="Find out what became of a write at level one.")
@click.argument("receipt_id", metavar="ID")
@click.option("--wait", is_flag=True, help="Wait, as long as --timeout says, until it is no longer pending.")
@global_options
def receipt(receipt_id: str, wait: bool) -> int:
    """Say what became of the write at level one with the receipt ID.

    \b
    committed    it took effect, at the revision printed          exit code 0
    pending      it waits to be handed over to the cluster        exit code 0
    superseded   it changed nothing: the key was newer            exit code 1
    unknown      nobody can tell (any more): read the key         exit code 5

    While the node that took the write cannot be reached, and nobody else can tell, the exit code is 4.
    """
    found = run_with_client(lambda client: client.wait_receipt(receipt_id) if wait else client.receipt(receipt_id))
    _show(found, settings().output)
    return _EXITS[found.state]


def _show(found: "Receipt", mode: Mode) -> None:
    if mode is Mode.JSON:
        from kvstore.client.results import receipt_json

        output.write_json(receipt_json(found))
        return
    if mode is Mode.TABLE:
        row = [found.id, str(found.level), found.state, _cell(found.revision), _cell(found.reason)]
        output.write_rows(["id", "level", "state", "revision", "reason"], [row], mode)
        return
    told = found.state + (f", {found.reason}" if found.reason else "")
    if mode is Mode.RAW:
        output.write_line(found.state)
    else:
        output.write_line(told + (f", revision {found.revision}" if found.revision is not None else ""))
    if told in _MEANINGS:
        output.message(_MEANINGS[told])


def _cell(value: object) -> str:
    return "-" if value is None else str(value)
