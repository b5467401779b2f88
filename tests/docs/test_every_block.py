"""Every fenced block of every page is run by some test, or says why it is not, and the list of those is kept.

    norun: reason        behind the language: what it shows cannot be run in a test, or is run elsewhere
    text, diagram        nothing to run

`tests/golden/docs/not_run.txt` lists the reasons, so that whoever reads a change sees what is taken out of the tests.
"""

import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from kvstore.config import load
from kvstore.http.transactions import TxnBody
from tests.support.pages import Block, blocks, names, prose

LIST = Path(__file__).parents[1] / "golden" / "docs" / "not_run.txt"
NOTHING_TO_RUN = {"text", "diagram"}

# (page, language) -> the test that runs such blocks of it
RUN_BY = {
    ("README.md", "sh"): "tests/e2e/test_readme.py",
    ("README.md", "python"): "tests/e2e/test_readme.py",
    ("docs/availability.md", "python"): "tests/docs/test_pages.py",
    ("docs/availability.md", "console"): "tests/docs/test_pages.py",
    ("docs/cli.md", "sh"): "tests/unit/test_cli_help.py",
    ("docs/harness.md", "console"): "tests/docs/test_pages.py",
    ("docs/operations.md", "sh"): "tests/e2e/test_operations_page.py",
    ("docs/python-client.md", "python"): "tests/e2e/test_python_client_page.py",
    ("docs/configuration.md", "toml"): "tests/docs/test_every_block.py",
    ("docs/http-api.md", "json"): "tests/docs/test_every_block.py",
    ("docs/security.md", "sh"): "tests/docs/test_pages.py",
    ("docs/security.md", "json"): "tests/integration/test_audit_log.py",
}

EVERY = [block for page in names() for block in blocks(page)]


def where(block: Block) -> str:
    return f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", EVERY, ids=where)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    assert block.language, f"{where(block)}: a block without a language"
    if block.reason is None and block.language not in NOTHING_TO_RUN:
        assert (block.page, block.language) in RUN_BY, f"{where(block)}: nothing runs it; run it, or say norun: why"


@pytest.mark.parametrize("page", names())
def test_no_block_is_hidden_by_being_indented(page: str) -> None:
    assert re.findall(r"(?<=\n\n)    \S.*", prose(page)) == []


@pytest.mark.parametrize("page", sorted({page for page, _ in RUN_BY}))
def test_what_runs_blocks_is_there(page: str) -> None:
    for (named, language), test in RUN_BY.items():
        if named == page:
            assert (Path(__file__).parents[2] / test).is_file()
            assert any(block.language == language and block.reason is None for block in blocks(page)), language


def test_the_list_of_blocks_that_are_not_run_is_kept() -> None:
    told = "".join(f"{block.page}: {block.language}: {block.reason}\n" for block in EVERY if block.reason is not None)
    if os.environ.get("KV_GOLDEN") == "write":
        LIST.write_text(told)
    assert told == LIST.read_text(), "KV_GOLDEN=write pytest tests/docs writes it anew"


def test_files_of_settings_are_read(tmp_path: Path) -> None:
    shown = [block.text for block in blocks("docs/configuration.md") if block.language == "toml"]
    assert len(shown) >= 2
    file = tmp_path / "kv.toml"
    for text in shown:
        file.write_text(text)
        if "serve" in tomllib.loads(text):
            assert load({}, {}, str(file)).name == "n1"
        else:
            assert set(tomllib.loads(text)) == {"client"}


def test_bodies_are_understood() -> None:
    shown = [block for block in blocks("docs/http-api.md") if block.language == "json" and block.reason is None]
    assert len(shown) == 1
    for block in shown:
        assert msgspec.json.decode(block.text, type=TxnBody).compare
