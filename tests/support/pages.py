"""The Markdown pages: their fenced blocks, and a shell that runs commands from top to bottom."""

import re
import subprocess
from pathlib import Path
from typing import Final, NamedTuple

from kvcluster.topology import free_ports
from tests.support.commands import ROOT, with_kv

# A block that nothing runs says why behind its language: ```sh norun: needs a printer
_NOT_RUN: Final = "norun: "

_BLOCK: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)

_PRELUDE: Final = """set -euo pipefail -m
trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT
"""


class Block(NamedTuple):
    """A fenced block: `line` is that of its fence, `reason` why it is not run, if it is not."""

    page: str
    line: int
    language: str
    rest: str
    text: str

    @property
    def reason(self) -> str | None:
        return self.rest.removeprefix(_NOT_RUN) if self.rest.startswith(_NOT_RUN) else None


def names() -> list[str]:
    """Every page, relative to the project."""
    return sorted(
        str(path.relative_to(ROOT)) for folder in (".", "docs", "jepsen-like") for path in (ROOT / folder).glob("*.md")
    )


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    """All fenced blocks of a page, in order; a fence that is not closed is an error."""
    found: list[Block] = []
    opened: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(read(page).splitlines(), 1):
        if not line.startswith("```"):
            lines.append(line)
        elif opened is None:
            opened, lines = (number, line[3:].strip()), []
        else:
            language, _, rest = opened[1].partition(" ")
            found.append(Block(page, opened[0], language, rest, "".join(each + "\n" for each in lines)))
            opened = None
    assert opened is None, f"{page}: the block of line {opened} is not closed"
    return found


def prose(page: str) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", read(page))


def run_commands(texts: list[str], directory: Path, patience_s: float = 120.0) -> list[str]:
    """Run blocks of commands in one shell in `directory`, where `kv` is this one; return what each printed.

    The first command that fails ends it with an error. Ports that the blocks name are replaced by free ones. Nodes
    that run in the background are ended with the shell.
    """
    script = "\necho +\n".join(texts)
    named = sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", script)))
    ports = dict(zip(named, free_ports(len(named)) if named else [], strict=True))
    script = re.sub(r"127\.0\.0\.1:(\d+)", lambda found: f"127.0.0.1:{ports[found[1]]}", script)
    with (directory / "said").open("w") as said:
        shell = subprocess.Popen(
            ["bash", "-c", _PRELUDE + script],
            cwd=directory,
            env=with_kv(directory),
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            shell.wait(timeout=patience_s)
        finally:
            shell.terminate()  # its trap ends the nodes
            shell.wait()
    printed = (directory / "said").read_text()
    parts = printed.split("+\n")
    assert (shell.returncode, len(parts)) == (0, len(texts)), printed
    return parts
