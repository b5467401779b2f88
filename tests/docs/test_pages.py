"""What the pages show is what happens: their commands are run, their output compared, their Python executed.

A `console` block holds commands after `$ `, each with all that it prints, messages included; behind the language may
stand the exit code that they end with, if it is not 0. A `python` block with
`>>>` is a doctest; the blocks of a page share their names, so that a later one may use what an earlier one made.
"""

import doctest
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.commands import environment
from tests.support.pages import ROOT, blocks, run_commands

PAGES = ["docs/availability.md", "docs/harness.md"]


class Shown(NamedTuple):
    """A command with the output and exit code that its page shows for it."""

    command: str
    output: str
    exit_code: int


def commands(page: str) -> Iterator[Shown]:
    for block in blocks(page):
        if block.language == "console":
            for part in re.split(r"(?m)^\$ ", block.text)[1:]:
                command, _, output = part.partition("\n")
                yield Shown(command, output, int(block.rest or 0))


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = command.split()
    assert program == "kv"
    return subprocess.run(
        [sys.executable, "-m", "kvcli.main", *arguments],
        env=environment(),
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "shown", [pytest.param(each, id=f"{page}: {each.command}") for page in PAGES for each in commands(page)]
)
def test_a_command_prints_what_its_page_shows(shown: Shown, tmp_path: Path) -> None:
    (tmp_path / "jepsen-like").symlink_to(ROOT / "jepsen-like")
    done = run(shown.command, tmp_path)
    assert (done.stdout.strip(), done.returncode) == (shown.output.strip(), shown.exit_code)


@pytest.mark.parametrize("page", PAGES[:1])
def test_python_on_a_page_gives_what_it_shows(page: str) -> None:
    examples = "\n".join(
        text for text in (block.text for block in blocks(page) if block.language == "python") if ">>>" in text
    )
    test = doctest.DocTestParser().get_doctest(examples, {}, page, page, 0)
    assert test.examples
    problems: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=problems.append)
    assert problems == []


def test_the_certificates_of_the_page_on_security_are_made(tmp_path: Path) -> None:
    (shown,) = [block.text for block in blocks("docs/security.md") if block.language == "sh" and block.reason is None]
    run_commands([shown], tmp_path)
    made = {path.name for path in (tmp_path / "pki").iterdir()}
    assert {"ca.pem", "node-n1.pem", "node-n1-key.pem", "client-backup-job.pem", "client-backup-job-key.pem"} <= made
