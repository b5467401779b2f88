"""What completes the line of a shell: the same that completes words of `kv` in bash, and the dots."""

import shlex
from typing import TYPE_CHECKING

from kvcli.output import Mode
from kvcli.shell.session import DOTS, LEVELS, Session

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_VALUES = {
    ".level": (*LEVELS, "default"),
    ".output": tuple(Mode),
    ".timing": ("on", "off"),
    ".continue": ("on", "off"),
}


def complete(session: Session, line: str) -> "tuple[str, list[CompletionItem]]":
    """The word that `line` ends with, as it is meant, and what can take its place."""
    from click.shell_completion import CompletionItem, ShellComplete

    from kvcli import main

    try:
        words = shlex.split(line)
    except ValueError:
        return "", []  # within quotes
    incomplete = words.pop() if words and not line[-1].isspace() else ""
    if words[:1] == ["kv"]:
        del words[0]
    if (words[:1] or [incomplete])[0].startswith("."):
        known = tuple(DOTS) if not words else _VALUES.get(words[0], ()) if len(words) == 1 else ()
        return incomplete, [CompletionItem(word) for word in known if word.startswith(incomplete)]
    completer = ShellComplete(main.cli, {}, "kv", "_KV_COMPLETE")
    items = completer.get_completions([*session.arguments(), *words], incomplete)
    return incomplete, [item for item in items if item.type == "plain"]


def as_typed(value: str) -> str:
    """How `value` is written in a line, quoted if need be."""
    return shlex.quote(value)
