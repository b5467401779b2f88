"""`kv delete`: removes one key, or all keys of a range."""

import secrets

import click

from kvcli import completing, output
from kvcli.once import named, write_options
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import command


@command(short_help="Remove a key, or a range of keys.")
@click.argument("key", required=False, shell_complete=completing.keys)
@write_options
@click.option(
    "--prefix",
    metavar="PREFIX",
    shell_complete=completing.keys,
    help="Remove every key that begins with it; empty: all keys.",
)
@click.option("--start", metavar="KEY", help="Remove every key from this one on.")
@click.option("--end", metavar="KEY", help="Remove every key before this one.")
@click.option("--dry-run", is_flag=True, help="With a range: only count.")
@global_options
def delete(
    key: str | None,
    level: str,
    if_revision: int | None,
    idempotency_key: str | None,
    prefix: str | None,
    start: str | None,
    end: str | None,
    dry_run: bool,
) -> None:
    """Remove KEY. Exit code 1 when there is no such key, but not at level one, which does not look.

    With --prefix, or --start and --end, remove a range of keys at one revision, and say how many there were.

    The levels, the receipt of level one, and idempotency keys are those of 'kv put'.
    """
    ranged = prefix is not None or start is not None or end is not None
    if (key is not None) == ranged:
        raise click.UsageError("give a KEY, or a range: --prefix, or --start and --end")
    if dry_run and not ranged:
        raise click.UsageError("--dry-run goes with a range")
    if prefix is not None and (start is not None or end is not None):
        raise click.UsageError("give --prefix, or --start and --end, not both")
    if level == "one" and (ranged or if_revision is not None):
        raise click.UsageError("--level one takes no condition and no range: its node may not know what is there")
    if ranged and if_revision is not None:
        raise click.UsageError("--if-revision goes with a single key")
    if key is None:
        _range(prefix, start, end, level, dry_run, idempotency_key)
        return
    target = key_bytes(key)
    with named(target, level, idempotency_key) as name:
        removed = run_with_client(
            lambda client: client.delete(target, level=level, if_revision=if_revision, idempotency_key=name)
        )
    output.write_write(removed, settings().output)


def _range(prefix: str | None, start: str | None, end: str | None, level: str, dry_run: bool, name: str | None) -> None:
    bounds = [None if each is None else key_bytes(each) for each in (prefix, start, end)]
    once = name or secrets.token_hex(16)
    gone = run_with_client(
        lambda client: client.delete_range(
            prefix=bounds[0], start=bounds[1], end=bounds[2], dry_run=dry_run, level=level, idempotency_key=once
        )
    )
    mode = settings().output
    if mode is Mode.JSON:
        output.write_json(gone._asdict())
    elif mode is Mode.RAW:
        output.write_line(str(gone.deleted))
    else:
        output.write_line(f"{gone.deleted} keys {'would go' if dry_run else 'removed'}, revision {gone.revision}")
