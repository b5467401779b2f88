"""The records that the next sync of the journal will write, in the order of the calls that made them."""

from collections.abc import Callable
from typing import Final, NamedTuple

from kvstore.consensus.configuration import Configuration
from kvstore.consensus.journal_seal import sealed_group
from kvstore.vault.cipher import NONCE_BYTES, Cipher

_NOT_AN_ENTRY: Final = 0


class Written(NamedTuple):
    """A group on its way to the disk: what is durable once it is there."""

    end: int
    last: tuple[int, int]
    state: tuple[int, str | None, int, Configuration]
    cuts: list[tuple[int, int]]
    begun: bool  # in a new segment


class Group:
    """Records lined up: two pieces each, joined only when they are written. `size` is in bytes.

    `cuts` are the (index, term) behind which the log is cut by a record of this group. `only_entries`: nothing else was
    lined up.
    """

    __slots__ = ("_indices", "cuts", "only_entries", "pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.cuts: list[tuple[int, int]] = []
        self.only_entries = True
        self._indices: list[int] = []

    def add_entry(self, index: int, head: bytes, command: bytes) -> None:
        """Line up the record of an entry."""
        self.pieces += (head, command)
        self._indices.append(index)
        self.size += len(head) + len(command)

    def add(self, record: bytes) -> None:
        """Line up any other record."""
        self.only_entries = False
        self.pieces += (record, b"")
        self._indices.append(_NOT_AN_ENTRY)
        self.size += len(record)

    def forget_from(self, index: int) -> None:
        """Entries from `index` on need not be written any more: as if they had never been appended."""
        pieces, indices = self.pieces, self._indices
        kept = [place for place, entry in enumerate(indices) if entry < index]
        if len(kept) < len(indices):
            self.pieces = [piece for place in kept for piece in pieces[2 * place : 2 * place + 2]]
            self._indices = [indices[place] for place in kept]
            self.size = sum(map(len, self.pieces))

    def data(self, head: bytes, last: bytes, cipher: Cipher | None, entropy: Callable[[int], bytes]) -> bytes:
        """What is written: `head`, all records and `last`; all behind `head` sealed, if there is a cipher."""
        if cipher is None:
            return b"".join((head, *self.pieces, last))
        return sealed_group(cipher, entropy(NONCE_BYTES), head, b"".join((*self.pieces, last)))
