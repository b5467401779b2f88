"""What a shell remembers between lines, and how it carries one out: a line that begins with a dot concerns the shell
itself, every other one is a command of `kv`, run as `kv` would run it.
"""

import io
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, Final

import click

from kvcli import output
from kvcli.exit_codes import Exit
from kvcli.options import Settings, common_flags, parse_endpoint_list
from kvcli.output import Mode
from kvcli.pages import Choice
from kvcli.suggest import did_you_mean

LEVELS: Final = ("one", "quorum", "all")
_HERE: Final = "<<"
_SWITCHES: Final = {"on": True, "off": False}


class Leave(Exception):
    """The shell is to end."""


@dataclass
class Session:
    """`flags`: the options of every command that the shell itself was given. `failed`: the exit code of the first line
    that failed, 0 while none has.
    """

    flags: list[str]
    endpoints: tuple[str, ...]
    level: str | None = None
    mode: Mode | None = None
    timing: bool = False
    go_on: bool = False
    failed: int = 0
    dots: dict[str, tuple[str, str]] = field(default_factory=lambda: dict(DOTS))

    @classmethod
    def of(cls, ctx: click.Context, chosen: Settings, *, level: str | None, timing: bool) -> "Session":
        """That of a shell that was started with these options."""
        return cls(common_flags(ctx), chosen.endpoints, level, chosen.chosen_output, timing)

    def run(self, line: str, stdin: IO[bytes] | None = None) -> int:
        """Carry out one line, and give its exit code. `stdin`: what it reads, None for the terminal. Raises Leave."""
        try:
            words = shlex.split(line, comments=True)
        except ValueError as wrong:
            output.message(f"{wrong}: quote as in a shell")
            return Exit.USAGE
        if words[:1] == ["kv"]:
            del words[0]
        if not words:
            return Exit.OK
        if words[0].startswith("."):
            return self._dot(words)
        if words[0] == "shell":
            output.message("this is a shell already")
            return Exit.USAGE
        began = time.perf_counter()
        code = self._command(words, stdin)
        if self.timing:
            output.message(f"{(time.perf_counter() - began) * 1000:.1f} ms")
        return code

    def note(self, code: int) -> None:
        """How a line ended."""
        self.failed = self.failed or code

    def _command(self, words: list[str], stdin: IO[bytes] | None) -> int:
        from kvcli import main

        if words[0] in ("exit", "quit"):
            raise Leave
        with _standard_input(stdin), output.lines_apart():
            return main.run([*self.arguments(), *words], default_map=self.defaults(words))

    def arguments(self) -> list[str]:
        """What stands before every command."""
        chosen = ["--endpoints", ",".join(self.endpoints)]
        return [*self.flags, *chosen, *([] if self.mode is None else ["-o", self.mode])]

    def defaults(self, words: list[str]) -> dict[str, Any]:
        """The level, where the command that `words` begin with takes it."""
        if self.level is None:
            return {}
        from kvcli import main

        path, found, at = [], main.cli, click.Context(main.cli, info_name="kv")
        inner: click.Command | None = found
        for word in words:
            if not isinstance(inner, click.Group):
                break
            below = inner.get_command(at, word)
            if below is None:
                return {}
            path.append(word)
            inner = below
        takes = [each for each in inner.params if each.name == "level"] if inner is not None else []
        if not takes:
            return {}
        known = takes[0].type.choices if isinstance(takes[0].type, Choice) else ()
        if self.level not in known:
            output.message(f"{' '.join(path)} knows no level {self.level}: its own default is taken")
            return {}
        nested: dict[str, Any] = {"level": self.level}
        for name in reversed(path):
            nested = {name: nested}
        return nested

    # -- lines that begin with a dot

    def _dot(self, words: list[str]) -> int:
        name, values = words[0], words[1:]
        actions: Mapping[str, Callable[[list[str]], None]] = {
            ".help": self._help,
            ".level": self._level,
            ".output": self._output,
            ".timing": self._timing,
            ".continue": self._continue,
            ".endpoints": self._endpoints,
            ".exit": self._exit,
        }
        if name not in actions:
            output.message(f"there is no {name}.{did_you_mean(name, actions)} .help lists what there is")
            return Exit.USAGE
        try:
            actions[name](values)
        except ValueError as wrong:
            output.message(f"{name}: {wrong}")
            return Exit.USAGE
        return Exit.OK

    def _help(self, _values: list[str]) -> None:
        output.write_rows(["", ""], [[usage, text] for usage, text in self.dots.values()], Mode.SIMPLE)
        output.write_line("Everything else is a command: help lists them, help put explains one.")

    def _level(self, values: list[str]) -> None:
        if values:
            self.level = None if values == ["default"] else _one_of(values, LEVELS)
        output.message(f"level {self.level or 'as each command has it'}")

    def _output(self, values: list[str]) -> None:
        if values:
            self.mode = Mode(_one_of(values, tuple(Mode)))
        output.message(f"output {self.mode or 'as KV_OUTPUT says, else simple'}")

    def _timing(self, values: list[str]) -> None:
        self.timing = _SWITCHES[_one_of(values, tuple(_SWITCHES))] if values else not self.timing
        output.message(f"timing {'on' if self.timing else 'off'}")

    def _continue(self, values: list[str]) -> None:
        self.go_on = _SWITCHES[_one_of(values, tuple(_SWITCHES))] if values else not self.go_on
        output.message(f"after a line that fails: {'go on' if self.go_on else 'stop'}")

    def _endpoints(self, values: list[str]) -> None:
        if values:
            self.endpoints = parse_endpoint_list(",".join(values))
        output.message(f"endpoints {','.join(self.endpoints)}")

    def _exit(self, _values: list[str]) -> None:
        raise Leave


DOTS: Final[dict[str, tuple[str, str]]] = {
    ".help": (".help", "this list"),
    ".level": (".level [one|quorum|all|default]", "level of commands that are given none"),
    ".output": (".output [simple|table|json|raw]", "how answers are written"),
    ".timing": (".timing [on|off]", "say how long each command took"),
    ".endpoints": (".endpoints [URL,...]", "nodes to talk to"),
    ".continue": (".continue [on|off]", "go on after a line that fails, in a script"),
    ".exit": (".exit", "leave; so does Ctrl-D"),
}


def here_document(line: str) -> tuple[str, str] | None:
    """A line that ends in `<<WORD`, without that, and the word that ends what follows; None for every other."""
    before, mark, word = line.rpartition(_HERE)
    word = word.strip()
    if not mark or not word.isidentifier() or not before.strip():
        return None
    return before.strip(), word


def _one_of(values: list[str], known: tuple[str, ...]) -> str:
    if len(values) != 1 or values[0] not in known:
        meant = did_you_mean(values[0], known) if len(values) == 1 else ""
        raise ValueError(f"one of {', '.join(known)}.{meant}")
    return values[0]


@contextmanager
def _standard_input(stdin: IO[bytes] | None) -> Iterator[None]:
    """Commands read `stdin` meanwhile."""
    if stdin is None:
        yield
        return
    before, sys.stdin = sys.stdin, io.TextIOWrapper(stdin, encoding="utf-8", errors="surrogateescape")
    try:
        yield
    finally:
        sys.stdin = before
