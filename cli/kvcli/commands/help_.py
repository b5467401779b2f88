"""`kv help`: the help of a command, or what concerns several of them."""

from collections.abc import Callable
from typing import Final

import click

from kvcli.exit_codes import MEANINGS
from kvcli.pages import Command, Group, command, common_options
from kvcli.setting_flags import notes_of
from kvcli.suggest import did_you_mean


def _options(root: click.Context, formatter: click.HelpFormatter) -> None:
    formatter.write_text(
        "Every command takes these, before its name or after it. The one nearest to the command wins; then the "
        "variable; then the table [client] of the TOML file that KV_CONFIG names; then the default."
    )
    with formatter.section("Options of every command"):
        formatter.write_dl(common_options(root))


def _exit_codes(_root: click.Context, formatter: click.HelpFormatter) -> None:
    formatter.write_text("The exit code says what became of it, so that a script can decide.")
    with formatter.section("Exit codes"):
        formatter.write_dl([(str(int(code)), text) for code, text in MEANINGS.items()])


def _settings(_root: click.Context, formatter: click.HelpFormatter) -> None:
    from kvstore.config import SETTINGS

    formatter.write_text(
        "What 'kv serve' takes: a flag, or the variable, or the name in the table [serve] of the file of --config. "
        "docs/configuration.md has the same as a table."
    )
    for setting in SETTINGS:
        metavar = "" if setting.is_switch else f" {setting.kind}"
        with formatter.section(f"{setting.flag}{metavar}"):
            formatter.write_text(f"{setting.help} {notes_of(setting)}")


def _levels(_root: click.Context, formatter: click.HelpFormatter) -> None:
    formatter.write_text("What a write waits for, and what a read may miss; docs/consistency.md has the rest.")
    with formatter.section("Writes"):
        formatter.write_dl(
            [
                ("one", "On the disk of the node asked. Works while any node runs; prints a receipt."),
                ("quorum", "On the disks of a majority, and applied. The default. Survives any minority."),
                ("all", "On the disk of every voter. Works while all of them run."),
            ]
        )
    with formatter.section("Reads"):
        formatter.write_dl(
            [
                ("one", "What the node asked has now, perhaps from the past; no majority needed."),
                ("quorum", "Never stale. The default."),
                ("all", "As quorum, and sees every write that was acknowledged at level one."),
            ]
        )


def _outputs(_root: click.Context, formatter: click.HelpFormatter) -> None:
    formatter.write_text(
        "Data goes to standard output, messages to standard error. No colour off a terminal, or with NO_COLOR."
    )
    with formatter.section("Modes of -o"):
        formatter.write_dl(
            [
                ("simple", "Plain lines, for people and simple scripts. The default."),
                ("table", "A drawn table."),
                ("json", "One document on a line. Stable: docs/cli.md says which members are there."),
                ("raw", "Bytes exactly, nothing added."),
            ]
        )


TOPICS: Final[dict[str, tuple[str, Callable[[click.Context, click.HelpFormatter], None]]]] = {
    "options": ("What every command takes.", _options),
    "exit-codes": ("What the exit codes mean.", _exit_codes),
    "settings": ("What 'kv serve' takes, in full.", _settings),
    "levels": ("What one, quorum and all mean.", _levels),
    "output": ("What -o does.", _outputs),
}


class _Help(Command):
    """Lists its topics."""

    def write_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Topics"):
            formatter.write_dl([(name, text) for name, (text, _) in TOPICS.items()])
        super().write_options(ctx, formatter)


def _complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    root = ctx.find_root()
    given = ctx.params.get("topic") or ()
    found: click.Command | None = root.command
    for name in given:
        found = found.get_command(root, name) if isinstance(found, Group) else None
    known = found.list_commands(root) if isinstance(found, Group) else []
    return [each for each in ([*known, *TOPICS] if not given else known) if each.startswith(incomplete)]


@command("help", cls=_Help, short_help="Explain a command, options, settings, exit codes.")
@click.argument("topic", nargs=-1, shell_complete=_complete)
@click.pass_context
def help_(ctx: click.Context, topic: tuple[str, ...]) -> None:
    """Explain a command, as --help does, or one of the topics below."""
    root = ctx.find_root()
    if len(topic) == 1 and topic[0] in TOPICS:
        formatter = root.make_formatter()
        TOPICS[topic[0]][1](root, formatter)
        click.echo(formatter.getvalue().rstrip("\n"))
        return
    found, at = root.command, root
    for name in topic:
        known = found.list_commands(at) if isinstance(found, Group) else []
        inner = found.get_command(at, name) if isinstance(found, Group) else None
        if inner is None:
            meant = did_you_mean(name, [*known, *(TOPICS if at is root else ())])
            raise click.UsageError(f"There is no help on {' '.join(topic)!r}.{meant}")
        at = click.Context(inner, info_name=name, parent=at)
        found = inner
    click.echo(at.get_help())
