"""`kv txn`: a transaction from standard input."""

import json
import secrets
import sys
from typing import TYPE_CHECKING, Any

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.options import global_options, run_with_client, settings
from kvcli.output import Mode, printable
from kvcli.pages import Choice, command
from kvstore import limits

if TYPE_CHECKING:
    from kvstore.client.txn import StepDone, TxnResult


@command(short_help="Compare, then write or read, all at one revision.")
@click.option("--level", type=Choice(["quorum", "all"]), default="quorum", show_default=True)
@click.option(
    "--idempotency-key",
    metavar="KEY",
    help="Name of this transaction: repeated under it, it is applied once. [default: a random one]",
)
@global_options
def txn(level: str, idempotency_key: str | None) -> int:
    """Read a transaction from standard input: if all its comparisons hold, carry out one list of requests, else the
    other, all at one revision. Exit code 0 if they held, 1 if not.

    Three blocks, an empty line after each (an empty block is an empty line):

    \b
    value("color") = "blue"      value, version, create, mod, lease with = != < >
    !exists("owner")             exists, !exists

    \b
    put owner "me" --lease=7     if all hold: put, get, del
    get config/ --prefix

    \b
    get owner                    else: the same

    Words are quoted as in a shell; # begins a comment. What begins with { is read as JSON instead, in the shape of POST
    /v1/txn: {"compare": [...], "then": [...], "else": [...]}.
    """
    from kvcli.txn_language import parse
    from kvstore.client.txn import parse_steps

    data = sys.stdin.buffer.read(limits.TXN_BODY_BYTES_MAX + 1)
    if len(data) > limits.TXN_BODY_BYTES_MAX:
        raise click.UsageError(f"a transaction has at most {limits.TXN_BODY_BYTES_MAX:,} bytes")
    text = data.decode("utf-8", "surrogateescape")
    try:
        lists = parse_steps(json.loads(text)) if text.lstrip().startswith("{") else parse(text)
    except (ValueError, TypeError) as wrong:
        raise click.UsageError(str(wrong)) from wrong
    name = idempotency_key or secrets.token_hex(16)
    done = run_with_client(lambda client: client.txn(*lists, level=level, idempotency_key=name))
    _show(done, settings().output)
    return Exit.OK if done.succeeded else Exit.ABSENT


def _show(done: "TxnResult", mode: Mode) -> None:
    if mode is Mode.JSON:
        results = [_json(each) for each in done.results]
        output.write_json({"succeeded": done.succeeded, "revision": done.revision, "results": results})
        return
    if mode is not Mode.RAW:
        output.write_line(f"{'succeeded' if done.succeeded else 'failed'}, revision {done.revision}")
    for each in done.results:
        _show_step(each, mode)


def _show_step(done: "StepDone", mode: Mode) -> None:
    from kvstore.client import txn as made

    if isinstance(done, (made.GetDone, made.RangeDone)):
        records = done.records if isinstance(done, made.RangeDone) else [(done.key, done.record)]
        for key, record in records:
            if mode is Mode.RAW:
                output.write_bytes(b"" if record is None else record.value)
            else:
                output.write_line(printable(key) + ("" if record is None else "\t" + printable(record.value)))
    elif mode is Mode.RAW:
        return
    elif isinstance(done, made.PutDone):
        output.write_line(f"put {printable(done.key)}, version {done.version}")
    elif isinstance(done, made.DeleteDone):
        output.write_line(f"deleted {done.deleted}")
    else:
        output.write_line("succeeded" if done.succeeded else "failed")
        for each in done.results:
            _show_step(each, mode)


def _json(done: "StepDone") -> dict[str, Any]:
    from kvstore.client import txn as made
    from kvstore.client.results import key_json, record_json

    if isinstance(done, made.GetDone):
        return {"op": "get", "record": None if done.record is None else record_json(done.key, done.record)}
    if isinstance(done, made.RangeDone):
        records = [record_json(*each) for each in done.records]
        return {"op": "range", "count": done.count, "more": done.more, "records": records}
    if isinstance(done, made.PutDone):
        return {"op": "put", **key_json(done.key), "version": done.version}
    if isinstance(done, made.DeleteDone):
        return {"op": "delete", "deleted": done.deleted}
    return {"op": "txn", "succeeded": done.succeeded, "results": [_json(each) for each in done.results]}
