"""What the pages show is what happens: their commands are run, their output compared, their Python executed.

A `console` block holds commands after `$ `, each with all that it prints, messages included. A `python` block with
`>>>` is a doctest; the blocks of a page share their names, so that a later one may use what an earlier one made.
"""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ["docs/availability.md"]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(page: str) -> list[tuple[str, str]]:
    """Each command with the output that the page shows for it."""
    shown = [part for block in blocks(page, "console") for part in re.split(r"(?m)^\$ ", block)[1:]]
    return [(command, output) for command, _, output in (part.partition("\n") for part in shown)]


def run(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    program, *arguments = command.split()
    assert program == "kv"
    path = os.pathsep.join(str(ROOT / part) for part in (".", "cli", "cluster", "jepsen-like"))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KV_")}
    return subprocess.run(
        [sys.executable, "-m", "kvcli.main", *arguments],
        env={**clean, "PYTHONPATH": path},
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "shown"), [pytest.param(*each, id=f"{page}: {each[0]}") for page in PAGES for each in commands(page)]
)
def test_a_command_prints_what_its_page_shows(command: str, shown: str, tmp_path: Path) -> None:
    done = run(command, tmp_path)
    assert (done.stdout.strip(), done.returncode) == (shown.strip(), 0)


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_gives_what_it_shows(page: str) -> None:
    examples = "\n".join(block for block in blocks(page, "python") if ">>>" in block)
    test = doctest.DocTestParser().get_doctest(examples, {}, page, page, 0)
    assert test.examples
    problems: list[str] = []
    doctest.DocTestRunner(verbose=False).run(test, out=problems.append)
    assert problems == []


def test_the_odds_of_the_readme_are_drawn(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^(kv odds [^#\n]*)", text, re.MULTILINE)
    assert shown
    for command in shown:
        assert run(command, tmp_path).returncode == 0
    assert (tmp_path / "odds.png").read_bytes().startswith(b"\x89PNG")
