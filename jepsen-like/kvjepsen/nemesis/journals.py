"""Where a dead node's journal ends, and how much of it was known to be durable: read with the store's own format."""

from pathlib import Path
from typing import NamedTuple

from kvstore.consensus import journal_format as form


class Segment(NamedTuple):
    """The file that is written to: its records end at `end`; below `mark` a group says that all was durable."""

    path: Path
    size: int
    end: int
    mark: int
    salt: bytes
    last_index: int
    last_term: int


def newest_segment(journal: Path) -> Segment:
    """The last segment of the journal in this directory. Raises CorruptData."""
    path = max(journal.glob("*.seg"), key=lambda path: int(path.stem))
    data = path.read_bytes()
    header, start = form.decode_header(data, str(path))
    state = form.LogState(header)
    found = form.replay(data, start, header.salt, state, str(path))
    _, index, term = state.entries[-1]
    return Segment(path, len(data), found.end, found.mark, header.salt, index, term)
