"""How commands look in `--help`: examples first, then what they do, then their own options. What every command takes is
named in one line. `command`, `group` and `Choice` are click's, with that look and with a word for slips.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from kvcli.examples import EXAMPLES, Example
from kvcli.options import Common
from kvcli.suggest import did_you_mean

COLUMNS: Final = 80
LINES_MAX: Final = 48
CONTEXT: Final[dict[str, Any]] = {"max_content_width": COLUMNS}

_COMMENT_AT_MAX: Final = 44
_METAVARS: Final = {"INTEGER RANGE": "N", "FLOAT RANGE": "X", "INTEGER": "N", "DIRECTORY": "DIR"}


class Command(click.Command):
    """A command that shows examples."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:
        # Not by the context: click keeps the option as the first context that asked for it would have it.
        return ["-h", "--help"]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_page(self, ctx, formatter)

    def write_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options."""
        with formatter.section("Options"):
            formatter.write_dl(own_options(self, ctx))


class Group(Command, click.Group):
    """A group that shows examples, and knows what was meant by a slip."""

    command_class = Command

    def write_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its commands, and its own options, which are none as a rule."""
        rows = [(name, _in_short(self.get_command(ctx, name))) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        super().write_options(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            meant = did_you_mean(name, self.list_commands(ctx))
            raise click.UsageError(f"No such command {name!r}.{meant}", ctx)
        return super().resolve_command(ctx, args)


Group.group_class = Group


class Choice(click.Choice[str]):
    """One of several words."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        return super().get_invalid_choice_message(value, ctx) + did_you_mean(str(value), self.choices)


def command(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Decorator: as click.command."""
    attributes.setdefault("cls", Command)
    made: Callable[[Callable[..., Any]], Command] = click.command(name, **attributes)
    return made


def group(name: str | None = None, **attributes: Any) -> Callable[[Callable[..., Any]], Group]:
    """Decorator: as click.group."""
    attributes.setdefault("cls", Group)
    made: Callable[[Callable[..., Any]], Group] = click.group(name, **attributes)
    return made


def write_page(page: Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The whole help of one command."""
    page.format_usage(ctx, formatter)
    path = " ".join(ctx.command_path.split()[1:])
    write_examples(EXAMPLES.get(path, ()), formatter)
    page.format_help_text(ctx, formatter)
    page.write_options(ctx, formatter)
    if any(isinstance(parameter, Common) for parameter in page.params):
        formatter.write_paragraph()
        formatter.write_text("Options of every command, such as --endpoints, -o, --timeout: kv help options")


def write_examples(examples: Sequence[Example], formatter: click.HelpFormatter) -> None:
    """Commands to copy, what they do behind them."""
    if not examples:
        return
    at = max((len(each.command) for each in examples if len(each.command) <= _COMMENT_AT_MAX), default=0)
    with formatter.section("Examples"):
        for each in examples:
            comment = f"  # {each.comment}" if each.comment else ""
            formatter.write(f"{'':{formatter.current_indent}}{each.command:{at if comment else 0}}{comment}\n")


def own_options(command: click.Command, ctx: click.Context) -> list[tuple[str, str]]:
    """Each option of this command alone, as it is written, and its text."""
    params = [each for each in command.get_params(ctx) if isinstance(each, click.Option)]
    records = [each.get_help_record(ctx) for each in params if not isinstance(each, Common)]
    return [(_shorter(record[0]), record[1]) for record in records if record is not None]


def common_options(ctx: click.Context) -> list[tuple[str, str]]:
    """Each option that every command has."""
    records = [each.get_help_record(ctx) for each in ctx.command.params if isinstance(each, Common)]
    return [record for record in records if record is not None]


def _shorter(written: str) -> str:
    for long, short in _METAVARS.items():
        written = written.replace(long, short)
    return written


def _in_short(command: click.Command | None) -> str:
    """Its short help, or the first sentence of its help."""
    if command is None:
        return ""
    if command.short_help:
        return command.short_help
    first = inspect.cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " ")
    return first.partition(". ")[0].rstrip(".") + "."
