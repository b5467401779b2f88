"""`kv import`: writes many keys."""

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from kvcli import output
from kvcli.exit_codes import explain
from kvcli.options import global_options, key_bytes, run_with_client, settings
from kvcli.output import Mode
from kvcli.pages import Choice, command
from kvstore import limits

if TYPE_CHECKING:
    from kvcli.importer import Summary
    from kvcli.sources import Problem, Tree
    from kvstore.client import AsyncClient

_LISTED = 20


@command(name="import", short_help="Write many keys, from ndjson or a directory tree.")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--tree", metavar="DIR", type=click.Path(exists=True, file_okay=False), help="Import the files below DIR instead."
)
@click.option("--prefix", metavar="P", default="", help="With --tree: what every key begins with.")
@click.option("--include", metavar="GLOB", multiple=True, help="With --tree: only such names or relative paths.")
@click.option("--skip-too-large", is_flag=True, help="With --tree: files above the value limit are no failure.")
@click.option("--level", type=Choice(["quorum", "all"]), default="quorum", show_default=True)
@click.option(
    "--in-flight", type=click.IntRange(1, limits.IMPORT_IN_FLIGHT_MAX), default=64, show_default=True, metavar="N"
)
@click.option(
    "--give-up",
    type=click.FloatRange(min=0, max=86_400),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one key is tried again before the import ends.",
)
@global_options
def import_(
    file: str | None,
    tree: str | None,
    prefix: str,
    include: tuple[str, ...],
    skip_too_large: bool,
    level: str,
    in_flight: int,
    give_up: float,
) -> int:
    """Write the keys of FILE (- is standard input), ndjson lines with key or key_base64 and value or value_base64.

    With --tree, every file below DIR becomes a key: the prefix, then its path relative to DIR. Symbolic links are
    skipped and listed; so are files above the value limit, which count as failures without --skip-too-large.

    A write that fails or whose outcome is unknown is written again, for the bytes are the same; nobody else should
    write these keys meanwhile. What was done is told on standard error, with -o json on standard output. Exit code 0
    only if everything was written or skipped by a rule; 7 if lines or files could not be imported.
    """
    if (file is None) == (tree is None):
        raise click.UsageError("give a FILE (- for standard input) or --tree DIR, one of them")
    if tree is None and (prefix or include or skip_too_large):
        raise click.UsageError("--prefix, --include and --skip-too-large go with --tree")
    from kvcli.sources import Tree

    source = file or "-" if tree is None else Tree(tree, include, skip_too_large)
    summary = run_with_client(lambda client: _import(client, source, key_bytes(prefix), level, in_flight, give_up))
    _tell(summary)
    return summary.exit_code


async def _import(
    client: "AsyncClient", source: "str | Tree", prefix: bytes, level: str, in_flight: int, give_up_s: float
) -> "Summary":
    from kvcli.importer import Importer
    from kvcli.progress import Progress
    from kvcli.sources import Tree, from_ndjson

    with ExitStack() as stack:
        total: int | None = None
        if isinstance(source, Tree):
            items = source.items(prefix)
            total = len(source.files)
        elif source == "-":
            items = from_ndjson(sys.stdin.buffer, "-")
        else:
            items = from_ndjson(stack.enter_context(open(source, "rb")), source)
        progress = stack.enter_context(Progress("imported", total))
        importer = Importer(client, level=level, in_flight=in_flight, give_up_s=give_up_s, progress=progress)
        return await importer.run(items)


def _tell(summary: "Summary") -> None:
    from kvcli.progress import human_bytes

    _list("skipped", [problem for problem in summary.problems if problem.by_rule])
    _list("not imported", [problem for problem in summary.problems if not problem.by_rule])
    if summary.fatal is not None:
        output.message(f"gave up: {explain(summary.fatal)} The same command may be run again.")
    if settings().output is Mode.JSON:
        output.write_json(summary.to_json())
        return
    output.message(
        f"imported {summary.keys:,} keys, {human_bytes(summary.bytes)} in {summary.seconds:.1f} s, "
        f"{summary.retries:,} retries"
    )


def _list(what: str, problems: "list[Problem]") -> None:
    for problem in problems[:_LISTED]:
        output.message(f"{what}: {problem.where}: {problem.reason}")
    if len(problems) > _LISTED:
        output.message(f"{what}: {len(problems) - _LISTED:,} more")
