"""Wrong usage, in our words: numbers, and where help is in a shell."""

import click
import pytest

from kvcli import main
from kvcli.exit_codes import Exit
from kvcli.kept import keep_open
from kvcli.slips import restated

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("cluster up --nodes three", "'three' is not a whole number from 1 to 15"),
        ("cluster up --nodes 16", "'16' is not a whole number from 1 to 15"),
        ("cluster up --nodes 1.5", "'1.5' is not a whole number from 1 to 15"),
        ("put k v --if-revision abc", "'abc' is not a whole number of at least 1"),
        ("put k v --if-revision 0", "'0' is not a whole number of at least 1"),
        ("cluster up --wait soon", "'soon' is not a number from 0 to 600"),
        ("lease grant 0.01", "'0.01' is not a number from 1 to 31,622,400"),
    ],
)
def test_a_number_that_is_none_is_told_with_what_may_stand_there(arguments: str, told: str, capsys: Captured) -> None:
    assert main.run(arguments.split()) == Exit.USAGE
    assert capsys.readouterr().err.splitlines()[-1].endswith(f": {told}")


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        (click.INT, "x", "'x' is not a whole number"),
        (click.FLOAT, "x", "'x' is not a number"),
        (click.IntRange(max=9), "10", "'10' is not a whole number of at most 9"),
        (click.FloatRange(0, 1, min_open=True), "0", "'0.0' is not a number above 0 and of at most 1"),
        (click.FloatRange(0.5, max_open=True, max=1), "1", "'1.0' is not a number of at least 0.5 and below 1"),
    ],
)
def test_bounds_in_words(kind: click.ParamType, given: str, told: str) -> None:
    option = click.Option(["--n"], type=kind)
    with pytest.raises(click.BadParameter) as wrong:
        kind.convert(given, option, None)
    found = restated(wrong.value)
    assert found.message == told
    assert "--n" in found.format_message()


def test_what_a_command_says_itself_stays_as_it_is() -> None:
    wrong = click.BadParameter("5 is no prime", param=click.Option(["--n"], type=int))
    assert restated(wrong) is wrong


@pytest.mark.parametrize(
    ("line", "typed"),
    [("nonsense", "help"), ("put", "help put"), ("cluster upp", "help cluster"), ("get k --limt 1", "help get")],
)
def test_in_a_shell_help_is_named_as_it_is_typed_there(line: str, typed: str, capsys: Captured) -> None:
    with keep_open():
        assert main.run(line.split()) == Exit.USAGE
    said = capsys.readouterr().err
    assert f"Try '{typed}' for help." in said
    assert "Try 'kv" not in said
    assert main.run(line.split()) == Exit.USAGE
    assert "Try 'kv" in capsys.readouterr().err
