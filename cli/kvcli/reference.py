"""docs/cli.md, made from the commands: `python -m kvcli.reference > docs/cli.md`. A test says when it is old."""

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Final

import click

from kvcli.catalog import COMMANDS
from kvcli.examples import EXAMPLES
from kvcli.exit_codes import MEANINGS
from kvcli.main import cli
from kvcli.pages import CONTEXT, Group, common_options, own_options
from kvcli.shapes import ELSEWHERE, SHAPES, WITHOUT

_COLUMNS: Final = 140

_HEAD: Final = """# The command line

<!-- Made by `python -m kvcli.reference > docs/cli.md` from the commands themselves; do not edit. -->

`kv --help` lists the commands, `kv help put` (or `kv put --help`) explains one, and `kv help` has a few topics:
options, exit codes, settings, levels, output. A word that is none there is gets the nearest ones named.

Data goes to standard output, messages to standard error, so that a pipe gets data and nothing else. There is no
colour and no animation off a terminal, and none on it with `NO_COLOR`. A failure says what happened, whether it
took effect, and what to do; where nodes are down, which:

```text
$ kv put greeting hello
kv: 2 of 3 voters cannot be reached (n2, n3); 2 are needed. Nothing was applied.
    no leader: 2 of 3 nodes are down: n2, n3 (as n1 sees it)
    start 1 of them again: 2 of 3 voters must run. Until then --level one works
```
"""

_COMPLETION: Final = """## Completion

`kv completion bash`, `zsh` or `fish` prints a script that makes the shell complete commands, options, levels,
files, and keys, members, leases, users and roles of the running cluster. To have it in every new shell, add the
line to the file:

| shell | line | file |
|---|---|---|
| bash (4.4 or newer) | `eval "$(kv completion bash)"` | `~/.bashrc` |
| zsh | `eval "$(kv completion zsh)"`, behind `compinit` | `~/.zshrc` |
| fish | `kv completion fish > ~/.config/fish/completions/kv.fish`, once | none |

What is completed from the cluster is asked for with the options in the line and the variables `KV_ENDPOINTS`,
`KV_TOKEN` and so on, at level one, for a second at most. Without an answer nothing is completed, and nothing
printed; a password is never asked for.
"""

_JSON: Final = """## What programs may rely on

- The exit codes above.
- With `-o json`: one document on one line of standard output, UTF-8, for each thing that is printed. `kv watch`,
  `kv elect --listen`, `kv lease keep-alive`, `kv top` and `kv status --watch` print one for each event or frame.
- The members below are there, with these meanings, until a new major version. Members may be added: ignore those
  that you do not know. Their order means nothing. What is not known or not there is `null`.
- A key is `key` if it is UTF-8, else `key_base64`; `value_base64` is always base64; `value` is text, and stands
  beside `value_base64` as `key` beside `key_base64`. Revisions, indices and ids are whole numbers. Units stand in
  the names: `_ms`, `_seconds`, `_s`, `_hz`, `_bytes`.
- Messages on standard error, the modes simple and table, and help may change at any time.

In the table, names in order, and below them what has names of its own: `{a, b: {c}, d: [{e}]}`. NAME stands for any
name.

| command | document |
|---|---|
"""


def walk() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every command and group: how it is called without `kv`, itself, and a context for its help. `kv` itself first."""
    yield from _walk("", cli, click.Context(cli, info_name="kv", **CONTEXT))


def _walk(path: str, command: click.Command, ctx: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    yield path, command, ctx
    if isinstance(command, Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            if inner is not None:
                below = click.Context(inner, info_name=name, parent=ctx)
                yield from _walk(f"{path} {name}".strip(), inner, below)


def page() -> str:
    """The whole page."""
    root = next(walk())[2]
    parts = [_HEAD, *_common(root), *_exits(), _COMPLETION, *_shapes(), "## Commands\n"]
    grouped = ""
    for path, command, ctx in walk():
        if not path:
            continue
        if path in COMMANDS and COMMANDS[path].group != grouped:
            grouped = COMMANDS[path].group
            parts.append(f"### {grouped}\n")
        parts += _command(path, command, ctx)
    return "\n".join(parts).rstrip("\n") + "\n"


def _common(root: click.Context) -> Iterator[str]:
    yield "## Options of every command\n"
    yield (
        "Before the command's name or after it. The one nearest to the command wins; then the variable; then the\n"
        "table `[client]` of the TOML file that `KV_CONFIG` names (endpoints, output, timeout, cacert, cert, key);\n"
        "then the default.\n"
    )
    yield "| option | meaning |\n|---|---|"
    yield "\n".join(f"| {_code(written)} | {_cell(text)} |" for written, text in common_options(root)) + "\n"


def _exits() -> Iterator[str]:
    yield "## Exit codes\n"
    yield "| code | meaning |\n|---|---|"
    yield "\n".join(f"| {int(code)} | {text} |" for code, text in MEANINGS.items()) + "\n"
    yield (
        "`kv lock` and `kv elect` pass on the code of the command that they run. `kv doctor`, `kv receipt` and\n"
        "`kv chaos` say in their own help what a code means there.\n"
    )


def _shapes() -> Iterator[str]:
    rows = [f"| `kv {path}` | {_code(shape)} |" for path, shape in {**SHAPES, **ELSEWHERE}.items()]
    without = [f"| `kv {path}` | none: {why} |" for path, why in WITHOUT.items()]
    yield _JSON + "\n".join(rows + without) + "\n"


def _command(path: str, command: click.Command, ctx: click.Context) -> Iterator[str]:
    level = "####" if " " not in path else "#####"
    yield f"{level} kv {path}\n"
    formatter = ctx.make_formatter()
    command.format_usage(ctx, formatter)
    usage = " ".join(formatter.getvalue().split()).removeprefix("Usage: ")
    examples = [f"{each.command}{f'  # {each.comment}' if each.comment else ''}" for each in EXAMPLES.get(path, ())]
    yield "\n".join(["```sh", f"# {usage}", *examples, "```\n"])
    yield _text(command.help or "")
    if isinstance(command, Group):
        return
    options = [row for row in own_options(command, ctx) if not row[0].startswith("-h")]
    if path == "serve":
        yield "Its flags are the settings of [configuration.md](configuration.md).\n"
    elif options:
        yield "| option | meaning |\n|---|---|"
        yield "\n".join(f"| {_code(written)} | {_cell(text)} |" for written, text in options) + "\n"


def _text(text: str) -> str:
    r"""Paragraphs, one line each; those behind \b as they are."""
    parts = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("\b"):
            parts.append("```text\n" + paragraph.removeprefix("\b\n") + "\n```")
        else:
            lines = textwrap.wrap(_escaped(" ".join(paragraph.split())), _COLUMNS, break_on_hyphens=False)
            parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _escaped(text: str) -> str:
    return re.sub(r"([<>*_|])", r"\\\1", text)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|")


def _cell(text: str) -> str:
    return _escaped(text)


if __name__ == "__main__":
    print(page(), end="")
