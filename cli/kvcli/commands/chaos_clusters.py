"""Which cluster a command of `kv chaos` breaks: one of its own, unless the line itself names another.

Faults and load are no reads: a variable that was exported an hour ago must not decide whose keys are written.
"""

import os
from typing import Final

import click
from click.core import ParameterSource

from kvcli import output, profile
from kvcli.kept import kept_open
from kvcli.options import given_endpoints

_OPTION: Final = "endpoints"
_VARIABLE: Final = "KV_ENDPOINTS"


def attached() -> tuple[str, ...]:
    """The endpoints that this line names; none, and a message, where only the environment or the shell names some."""
    if _on_this_line():
        return given_endpoints()
    if source := _named_elsewhere():
        output.message(
            f"starting a cluster of its own; {source} is left alone. To put load on that cluster: --endpoints URL,..."
        )
    return ()


def refuse_to_attach(command: str) -> None:
    """For commands that only ever start clusters of their own. Raises click.UsageError if the line names another."""
    hint = "'kv chaos run --endpoints URL,...' puts load on one that runs"
    if _on_this_line():
        raise click.UsageError(f"{command} starts clusters of its own, and takes no --endpoints; {hint}.")
    if source := _named_elsewhere():
        output.message(f"starting clusters of its own; {source} is left alone. {hint}")


def _on_this_line() -> bool:
    """Whether --endpoints was written, before the command's name or behind it.

    A shell (`kv shell`) puts its own before every line: those are not written by anybody.
    """
    context: click.Context | None = click.get_current_context()
    while context is not None and not (context.parent is None and kept_open() is not None):
        if context.get_parameter_source(_OPTION) is ParameterSource.COMMANDLINE:
            return True
        context = context.parent
    return False


def _named_elsewhere() -> str:
    """What names a cluster, if anything does."""
    if kept_open() is not None:
        return "the cluster of this shell"
    if os.environ.get(_VARIABLE):
        return _VARIABLE
    source, value = profile.lookup(_OPTION)
    return source if value is not None else ""
