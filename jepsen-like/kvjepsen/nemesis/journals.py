"""Where a dead node's journal ends, and how much of it was known to be durable: read with the store's own format."""

from pathlib import Path
from typing import NamedTuple

from kvstore.consensus import journal_format as form
from kvstore.consensus.journal_seal import replay_sealed
from kvstore.vault.cipher import Cipher
from kvstore.vault.envelope import NO_KEYS, Vault


class Segment(NamedTuple):
    """The file that is written to: its records end at `end`; below `mark` a group says that all was durable."""

    path: Path
    size: int
    end: int
    mark: int
    salt: bytes
    last_index: int
    last_term: int
    cipher: Cipher | None = None


def newest_segment(journal: Path, vault: Vault = NO_KEYS) -> Segment:
    """The last segment of the journal in this directory; `vault` opens it. Raises CorruptData, WrongKey."""
    path = max(journal.glob("*.seg"), key=lambda path: int(path.stem))
    data = path.read_bytes()
    header, start = form.decode_header(data, str(path))
    state = form.LogState(header)
    cipher: Cipher | None = None
    if header.key is None:
        found = form.replay(data, start, header.salt, state, str(path))
    else:
        cipher = vault.unwrap(str(path), header.key.key_id, header.key.wrapped, header.key.context)
        found = replay_sealed(data, start, header.salt, state, str(path), cipher)
    _, index, term = state.entries[-1]
    return Segment(path, len(data), found.end, found.mark, header.salt, index, term, cipher)
