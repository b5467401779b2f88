"""What a run writes into a page: the part between its two marks, and nothing else."""

import os
from pathlib import Path


def put_into(page: Path, part: str, text: str) -> None:
    """Replaces what is between `<!-- PART: begin -->` and `<!-- PART: end -->`; adds both to a page without them."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    old = page.read_text(encoding="utf-8") if page.exists() else ""
    if begin not in old or end not in old:
        old = f"{old.rstrip()}\n\n{begin}\n{end}\n".lstrip()
    before, after = old.split(begin, 1)[0], old.split(end, 1)[1]
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")


def link(page: Path, file: Path) -> str:
    """The address of `file` on `page`."""
    return os.path.relpath(file.resolve(), page.resolve().parent).replace(os.sep, "/")
