"""What `kv --help` and the help of every command look like; and that docs/cli.md is made of it."""

import io
import os
import shlex
import sys
from functools import cache
from pathlib import Path

import pytest

from kvcli import main, reference
from kvcli.catalog import COMMANDS
from kvcli.examples import EXAMPLES
from kvcli.exit_codes import MEANINGS, Exit
from kvcli.options import Common
from kvcli.pages import COLUMNS, LINES_MAX, Group
from kvcli.shapes import ELSEWHERE, SHAPES, WITHOUT
from kvcli.suggest import did_you_mean, near

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "cli"

TREE = {path: command for path, command, _ in reference.walk()}


def golden(name: str, text: str) -> None:
    """Compares with tests/golden/cli/NAME.txt; KV_GOLDEN=write writes it instead."""
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("KV_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def kv(*arguments: str, columns: int = 200) -> tuple[int, str]:
    """Runs `kv` in this process, on a terminal so wide; its exit code, and what it printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
        code = main.run(arguments)
        assert isinstance(sys.stdout, io.TextIOWrapper)
        sys.stdout.flush()
        shown = sys.stdout.buffer
        assert isinstance(shown, io.BytesIO)
        return code, shown.getvalue().decode()


@cache
def help_of(path: str) -> str:
    code, shown = kv(*path.split(), "--help")
    assert code == Exit.OK
    return shown


class TestEveryCommand:
    @pytest.mark.parametrize("path", TREE)
    def test_its_help_fits_a_screen(self, path: str) -> None:
        shown = help_of(path)
        lines = shown.splitlines()
        assert max(map(len, lines)) <= COLUMNS
        assert len(lines) <= LINES_MAX
        golden(f"help_{(path or 'kv').replace(' ', '_')}", shown)

    @pytest.mark.parametrize("path", TREE)
    def test_its_help_begins_with_examples(self, path: str) -> None:
        assert 1 <= len(EXAMPLES[path]) <= 3
        lines = help_of(path).splitlines()
        at = lines.index("Examples:")
        assert lines[at + 1].startswith(f"  {EXAMPLES[path][0].command}")
        assert all(line.startswith(("Usage:", " ")) or not line for line in lines[:at])

    @pytest.mark.parametrize(("path", "text"), [(p, each.command) for p, rows in EXAMPLES.items() for each in rows])
    def test_its_examples_can_be_typed(
        self, path: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Read by the commands themselves, up to where they would begin to do something."""
        monkeypatch.chdir(tmp_path)
        for name in ("data.ndjson", "backup.kvsnap", "conf/a", "old/n1/a"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        calls = [words for words in commands_of(text) if words[0] == "kv"]
        assert calls
        shown = [parsed(words[1:]) for words in calls]
        # It shows the command; that of a group shows one of its own, or what goes with them.
        assert isinstance(TREE[path], Group) or path in shown

    def test_every_command_has_its_group_and_its_line(self) -> None:
        assert set(EXAMPLES) == set(TREE)
        groups = [entry.group for entry in COMMANDS.values()]
        assert sorted(groups, key=groups.index) == groups  # each group stands together

    @pytest.mark.parametrize("name", COMMANDS)
    def test_the_list_says_what_the_command_says(self, name: str) -> None:
        """`kv --help` prints the table without importing the commands; the two must not drift apart."""
        command = TREE[name]
        assert (command.name, command.short_help) == (name, COMMANDS[name].help)

    @pytest.mark.parametrize("path", [path for path, command in TREE.items() if not isinstance(command, Group)])
    def test_its_json_is_told_or_why_there_is_none(self, path: str) -> None:
        told = [name for name in (*SHAPES, *ELSEWHERE) if name == path or name.startswith(f"{path} --")]
        assert bool(told) != (path in WITHOUT)
        if told:
            assert any(isinstance(each, Common) and each.name == "output" for each in TREE[path].params)


def commands_of(text: str) -> list[list[str]]:
    """The commands in a line of a shell, without what they read from and write to."""
    inner = text.replace("$(", " ; ").replace(")", " ").replace('eval "', "eval ").rstrip('" ')
    lexer = shlex.shlex(inner, posix=True, punctuation_chars="|<>;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word in ("|", ";"):
            found.append([])
        else:
            found[-1].append(word)
    return [words[: next((n for n, w in enumerate(words) if w in ("<", ">")), len(words))] for words in found if words]


def parsed(words: list[str]) -> str:
    """The path of the command that `words` call. Raises click.UsageError if they cannot be read."""
    ctx = main.cli.make_context("kv", list(words))
    path: list[str] = []
    while isinstance(ctx.command, Group):
        rest = [*ctx._protected_args, *ctx.args]
        name, command, rest = ctx.command.resolve_command(ctx, rest)
        assert command is not None
        path.append(str(name))
        ctx = command.make_context(name, rest, parent=ctx)
    return " ".join(path)


class TestTopics:
    @pytest.mark.parametrize("topic", ["options", "exit-codes", "levels", "output"])
    def test_a_topic(self, topic: str) -> None:
        code, shown = kv("help", topic)
        assert code == Exit.OK
        assert max(map(len, shown.splitlines())) <= COLUMNS
        golden(f"help_topic_{topic}", shown)

    def test_settings_are_told_in_full(self) -> None:
        from kvstore.config import SETTINGS

        code, shown = kv("help", "settings")
        assert code == Exit.OK
        told = " ".join(shown.split())
        for setting in SETTINGS:
            assert f"{setting.flag}" in told
            assert " ".join(setting.help.split()) in told

    def test_every_exit_code_has_its_meaning(self) -> None:
        assert list(MEANINGS) == list(Exit)

    def test_help_of_a_command_is_its_help(self) -> None:
        assert kv("help", "lease", "grant") == kv("lease", "grant", "--help")
        assert kv("help") == kv("--help")

    def test_a_slip_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert kv("help", "pt")[0] == Exit.USAGE
        assert "Did you mean 'put'" in capsys.readouterr().err


class TestSlips:
    @pytest.mark.parametrize(
        ("arguments", "meant"),
        [
            (["staus"], "'status'"),
            (["lease", "gant", "5"], "'grant'"),
            (["get", "k", "--levl", "one"], "'--level'"),
            (["get", "k", "--level", "quorom"], "'quorum'"),
            (["get", "k", "-o", "jsn"], "'json'"),
            (["role", "grant", "r", "raed", "--prefix", "a"], "'read'"),
            (["completion", "bsh"], "'bash'"),
        ],
    )
    def test_what_was_meant_is_named(
        self, arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main.run(arguments) == Exit.USAGE
        said = capsys.readouterr().err
        assert f"Did you mean {meant}" in said

    def test_a_setting_of_the_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "kv.toml").write_text("[client]\nendpoint = 'x'\n")
        monkeypatch.setenv("KV_CONFIG", str(tmp_path / "kv.toml"))
        assert main.run(["get", "k"]) == Exit.USAGE
        assert "Did you mean 'endpoints'?" in capsys.readouterr().err

    def test_nothing_is_named_that_is_far_away(self) -> None:
        assert near("xyzzy", COMMANDS) == []
        assert did_you_mean("xyzzy", COMMANDS) == ""
        assert near("mem", COMMANDS) == ["member"]
        assert near("GET", COMMANDS) == ["get"]


def test_the_page_is_what_the_commands_say() -> None:
    """docs/cli.md: python -m kvcli.reference > docs/cli.md"""
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == reference.page()


def test_every_file_of_help_belongs_to_a_command() -> None:
    wanted = {f"help_{(path or 'kv').replace(' ', '_')}.txt" for path in TREE}
    topics = {f"help_topic_{topic}.txt" for topic in ("options", "exit-codes", "levels", "output")}
    assert {path.name for path in GOLDEN.glob("help_*.txt")} == wanted | topics


def test_help_has_no_colour_and_no_control_characters() -> None:
    for path in TREE:
        shown = help_of(path)
        assert all(character.isprintable() or character == "\n" for character in shown)
