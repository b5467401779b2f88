"""What the pages name is there: commands and their options, routes, settings. And what is there has its page."""

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from kvcli.main import cli
from kvstore.config import SETTINGS
from kvstore.config.loading import FILE_ENV
from kvstore.http.routes import ROUTES
from kvstore.telemetry.catalogue import ROWS
from tests.support.pages import blocks, names, prose, read

SHELLS = {"sh", "console"}
# Where a command ends and another one may begin.
ENDS = re.compile(r"&&|\|\||[;|&()`]|\$\(")
VARIABLE = r"\b_?KV_[A-Z_]+\b"
# What begins like a metric and is a fixture.
NO_METRICS = {"kv_cluster"}
CONTEXT = click.Context(cli, info_name="kv")
# What stands for a name that the reader chooses.
OPEN = re.compile(r"[A-Z_]{2,}|[A-Z]|\.\.\.|<.*>|…")


def spans(page: str) -> list[str]:
    """What stands in single backquotes."""
    return [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose(page))]


def commands(page: str) -> Iterator[str]:
    """Every `kv ...` of a page."""
    lines = [line for block in blocks(page) if block.language in SHELLS for line in block.text.splitlines()]
    for text in [*lines, *spans(page)]:
        for part in ENDS.split(re.sub(r"'[^']*'", "QUOTED", text)):
            words = part.strip().removeprefix("$ ").removeprefix("nice ")
            if words == "kv" or words.startswith("kv "):
                yield words


def problem(command: str) -> str | None:
    """What of the command is not there."""
    found: click.Command = cli
    words = shlex.split(command, comments=True)[1:]
    while words:
        word = words.pop(0)
        if word == "--":
            return None
        if word.startswith("-") and not re.fullmatch(r"-\d*", word):
            name, _, given = word.partition("=")
            options = [each for each in found.get_params(CONTEXT) if name in (*each.opts, *each.secondary_opts)]
            if not options:
                return f"{found.name} has no {name}"
            takes = isinstance(options[0], click.Option) and not options[0].is_flag and not options[0].count
            if takes and not given and words:
                words.pop(0)
        elif isinstance(found, click.Group) and not OPEN.fullmatch(word):
            inner = found.get_command(CONTEXT, word)
            if inner is None:
                return f"{found.name} has no {word}"
            found = inner
    return None


@pytest.mark.parametrize("page", names())
def test_every_command_that_is_named_is_there(page: str) -> None:
    wrong = [f"{command}: {why}" for command in commands(page) if (why := problem(command))]
    assert wrong == []


def test_a_command_that_is_not_there_is_found() -> None:
    assert problem("kv put a b --level all") is None
    assert problem("kv chaos run --nodes 3 -- x") is None
    assert problem("kv putt a b") == "cli has no putt"
    assert problem("kv cluster up --nods 3") == "up has no --nods"
    assert problem("kv -o json status") is None


def every_command(found: click.Command = cli) -> Iterator[click.Command]:
    yield found
    if isinstance(found, click.Group):
        for name in found.list_commands(CONTEXT):
            yield from every_command(found.get_command(CONTEXT, name))


def matches(path: str) -> bool:
    """Whether a path as a page writes it belongs to a route; what is given may be open there, or an example."""
    for route in ROUTES:
        pattern = re.sub(r"\\\{\w+\\\}", r"(?:\\{\\w+\\}|[^/]+)", re.escape(route.path))
        if route.path.endswith(("{key}", "{path}")):
            pattern = pattern.removesuffix("[^/]+)") + ".+)"
        if re.fullmatch(pattern, path):
            return True
    return False


@pytest.mark.parametrize("page", names())
def test_every_route_that_is_named_is_there(page: str) -> None:
    text = read(page)
    named = re.findall(r"\b(GET|PUT|POST|DELETE|HEAD) (/[\w/{}.~%-]*)", text)
    named += [("", path) for path in re.findall(r"(?<![\w.])(/v1/[\w/{}.~%-]+)", text)]
    wrong = sorted({path for _, path in named if not matches(path.rstrip("./"))})
    assert wrong == []
    methods = {(route.method, route.path) for route in ROUTES}
    exact = [(method, path) for method, path in named if method and any(path == known for _, known in methods)]
    assert [each for each in exact if each not in methods] == []


@pytest.mark.parametrize("page", names())
def test_every_variable_that_is_named_is_there(page: str) -> None:
    known = {setting.env for setting in SETTINGS} | {FILE_ENV}
    for command in every_command():
        options = [each.help or "" for each in command.params if isinstance(each, click.Option)]
        known.update(re.findall(VARIABLE, " ".join([command.get_help(CONTEXT), *options])))
    assert sorted(set(re.findall(VARIABLE, read(page))) - known) == []


@pytest.mark.parametrize("page", names())
def test_every_metric_that_is_named_is_exported(page: str) -> None:
    named = set(re.findall(r"`(kv_[a-z0-9_]+|request_[a-z0-9_]+_(?:total|seconds))(?:\{[^}`]*\})?`", read(page)))
    named = {re.sub(r"_(bucket|sum|count)$", "", name) for name in named}
    settings = {setting.name for setting in SETTINGS}
    assert sorted(named - set(ROWS) - settings - NO_METRICS) == []
