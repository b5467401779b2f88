"""Wrong usage, told in our words: what was meant, what may stand there, and where help is."""

import re
from typing import Any, Final

import click

from kvcli.suggest import did_you_mean

_NO_NUMBER: Final = re.compile(r"(?P<given>.*) is not a valid (?:integer|float)(?: range)?\.", re.DOTALL)
_OUT_OF_RANGE: Final = re.compile(r"(?P<given>\S+) is not in the range \S+\.")


def restated(wrong: click.UsageError) -> click.UsageError:
    """The same in our words, where click's name what is not near, or speak of types."""
    if isinstance(wrong, click.BadParameter):
        return _number(wrong)
    if not isinstance(wrong, click.NoSuchOption) or wrong.ctx is None:
        return wrong
    known = [name for each in wrong.ctx.command.get_params(wrong.ctx) for name in each.opts if name.startswith("--")]
    meant = did_you_mean(wrong.option_name, known)
    return click.UsageError(f"No such option {wrong.option_name!r}.{meant}", wrong.ctx)


def show_usage(wrong: click.UsageError, *, in_shell: bool) -> None:
    """On standard error, with the command that explains more, as it is typed where we are."""
    if not in_shell or wrong.ctx is None or isinstance(wrong, click.exceptions.NoArgsIsHelpError):
        wrong.show()
        return
    typed = " ".join(["help", *wrong.ctx.command_path.split()[1:]])
    click.echo(f"{wrong.ctx.get_usage()}\nTry '{typed}' for help.\n", err=True)
    click.echo(f"Error: {wrong.format_message()}", err=True)


def _number(wrong: click.BadParameter) -> click.UsageError:
    kind = None if wrong.param is None else wrong.param.type
    whole = isinstance(kind, (click.IntRange, type(click.INT)))
    if not whole and not isinstance(kind, (click.FloatRange, type(click.FLOAT))):
        return wrong
    match = _NO_NUMBER.fullmatch(wrong.message) or _OUT_OF_RANGE.fullmatch(wrong.message)
    if match is None:
        return wrong
    given = match["given"] if match["given"][:1] in "'\"" else f"'{match['given']}'"
    told = f"{given} is not a {'whole ' * whole}number{_bounds(kind)}"
    return click.BadParameter(told, wrong.ctx, wrong.param, wrong.param_hint)


def _bounds(kind: Any) -> str:
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    low_open, high_open = getattr(kind, "min_open", False), getattr(kind, "max_open", False)
    if low is not None and high is not None and not low_open and not high_open:
        return f" from {_written(low)} to {_written(high)}"
    words = []
    if low is not None:
        words.append(f"above {_written(low)}" if low_open else f"of at least {_written(low)}")
    if high is not None:
        words.append(f"below {_written(high)}" if high_open else f"of at most {_written(high)}")
    return "".join(f" {word}" for word in (" and ".join(words),) if word)


def _written(bound: float) -> str:
    return f"{int(bound):,}" if bound == int(bound) else f"{bound:g}"
