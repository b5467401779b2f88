"""`kv get`: reads one value, or lists the keys that begin with a prefix."""

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import click

from kvcli import completing, output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvcli.output import Mode, printable
from kvcli.pages import Choice, command
from kvstore import limits

if TYPE_CHECKING:
    from kvstore.client import AsyncClient, RangePage
    from kvstore.model.results import Record

_CELL_CHARS = 60
_COLUMNS = ["key", "create_revision", "mod_revision", "version", "bytes", "value"]


@command(short_help="Read a value, or list keys by prefix.")
@click.argument("key", shell_complete=completing.keys)
@click.option("--level", type=Choice(["one", "quorum", "all"]), default="quorum", show_default=True)
@click.option(
    "--max-staleness-ms",
    type=click.IntRange(0, limits.TIMEOUT_MS_MAX),
    metavar="N",
    help="With --level one: wait until nothing older than this is missing.",
)
@click.option(
    "--min-revision", type=click.IntRange(min=0), metavar="N", help="Wait until the node has reached this revision."
)
@click.option("--revision", type=click.IntRange(min=1), metavar="N", help="As it was at this revision, if still kept.")
@click.option("--prefix", is_flag=True, help="List every key that begins with KEY.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="With --prefix: at most N keys.")
@click.option("--keys-only", is_flag=True, help="With --prefix: print keys without values.")
@global_options
def get(
    key: str,
    level: str,
    max_staleness_ms: int | None,
    min_revision: int | None,
    revision: int | None,
    prefix: bool,
    limit: int | None,
    keys_only: bool,
) -> int:
    """Print the value of KEY, byte for byte; on a terminal a line end is added (not with -o raw).

    Level quorum is never stale. Level one asks one node only and answers without a majority, perhaps from the past, and
    shows what that node has taken at level one and not yet handed over. Level all asks every voter, sees every write
    that was acknowledged at level one, and ends with exit code 8 if the voters hold different values.

    With --prefix, one line per key: the key, a tab, the value, with escapes for what is not printable (-o raw: the
    values as they are, nothing between them). Long lists are read in pages, all of them at one revision.
    """
    if not prefix and (limit is not None or keys_only):
        raise click.UsageError("--limit and --keys-only go with --prefix")
    if prefix and (level == "all" or max_staleness_ms is not None or min_revision is not None):
        raise click.UsageError("--level all, --max-staleness-ms and --min-revision go with a single key")
    if max_staleness_ms is not None and level != "one":
        raise click.UsageError("--max-staleness-ms goes with --level one; the other levels are never stale")
    if revision is not None and (level == "all" or max_staleness_ms is not None or min_revision is not None):
        raise click.UsageError(
            "--revision takes no --level all, --max-staleness-ms or --min-revision: the past is fixed"
        )
    name = key_bytes(key)
    if prefix:
        run_with_client(lambda client: _list(client, name, level, limit, revision, keys_only, settings().output))
        return Exit.OK
    record = run_with_client(
        lambda client: client.get(
            name, level=level, max_staleness_ms=max_staleness_ms, min_revision=min_revision, revision=revision
        )
    )
    if record is None:
        output.message(f"there is no key {printable(name, 200)!r}.")
        return Exit.ABSENT
    _show(name, record, settings().output)
    return Exit.OK


def _show(key: bytes, record: "Record", mode: Mode) -> None:
    if mode is Mode.JSON:
        from kvstore.client.results import record_json

        output.write_json(record_json(key, record))
    elif mode is Mode.TABLE:
        output.write_rows(_COLUMNS, [_row(key, record)], mode)
    else:
        output.write_value(record.value, mode)


async def _list(
    client: "AsyncClient",
    prefix: bytes,
    level: str,
    limit: int | None,
    revision: int | None,
    keys_only: bool,
    mode: Mode,
) -> None:
    pages = client.pages(prefix=prefix, limit=limit, revision=revision, level=level)
    if mode is Mode.JSON:
        await _list_json(pages, keys_only)
        return
    rows: list[list[str]] = []
    async for page in pages:
        for key, record in page.records:
            if mode is Mode.TABLE:
                rows.append(_row(key, record, keys_only))
            elif mode is Mode.RAW:
                output.write_bytes(key + b"\n" if keys_only else record.value)
            else:
                output.write_line(printable(key) + ("" if keys_only else "\t" + printable(record.value)))
    if mode is Mode.TABLE:
        output.write_rows(_COLUMNS[:-1] if keys_only else _COLUMNS, rows, mode)


async def _list_json(pages: "AsyncIterator[RangePage]", keys_only: bool) -> None:
    """The range shape, written while it is read: a long list does not gather in memory."""
    from kvstore.client.results import record_json

    cursor: str | None = None
    first, between = True, ""
    async for page in pages:
        if first:
            first = False
            output.write_bytes(b'{"revision": %d, "count": %d, "records": [' % (page.revision, page.count))
        for key, record in page.records:
            item = record_json(key, record)
            if keys_only:
                del item["value_base64"]
            output.write_bytes((between + json.dumps(item, ensure_ascii=False)).encode())
            between = ", "
        cursor = page.cursor
    output.write_line(f'], "cursor": {json.dumps(cursor)}}}')


def _row(key: bytes, record: "Record", keys_only: bool = False) -> list[str]:
    # A write at level one that its node has not handed over yet has none of these.
    numbers = (record.create_revision, record.mod_revision, record.version)
    row = [printable(key, _CELL_CHARS), *(str(number or "-") for number in numbers), str(len(record.value))]
    return row if keys_only else [*row, printable(record.value, _CELL_CHARS)]
