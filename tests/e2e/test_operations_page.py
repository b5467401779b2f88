"""docs/operations.md is true: its commands run from top to bottom, in one shell, on real nodes."""

from pathlib import Path

import pytest

from tests.support.pages import blocks, read, run_commands

PAGE = "docs/operations.md"
TLS_LINE = read(PAGE).partition("## Replace certificates")[0].count("\n")


def commands(*, about_tls: bool) -> list[str]:
    return [
        block.text
        for block in blocks(PAGE)
        if block.language == "sh" and block.reason is None and (block.line > TLS_LINE) == about_tls
    ]


def test_the_commands_of_the_page_run_from_top_to_bottom(tmp_path: Path) -> None:
    parts = run_commands(commands(about_tls=False), tmp_path)
    assert len(parts) == 6
    assert "red" in parts[2]
    assert "acknowledged by 3" in parts[3]
    assert "green" in parts[4]


@pytest.mark.long
def test_the_commands_about_certificates_run(tmp_path: Path) -> None:
    started, replaced = run_commands(commands(about_tls=True), tmp_path)
    assert "acknowledged by 1" in started
    assert replaced.count("blue") == 2
