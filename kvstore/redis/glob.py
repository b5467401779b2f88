"""Patterns as Redis has them: `*` any bytes, `?` one, `[abc]` and `[a-c]` one of some, `[^a]` one of all others, and a
backslash in front of what is meant as it stands. Pure.

Between two stars everything has a fixed length, so that the leftmost place of each piece is always the right one: a
match takes one pass, whatever the pattern is.
"""

import re
from collections.abc import Iterator
from typing import Final

_STAR: Final = 0x2A
_ANY: Final = 0x3F
_OPEN: Final = 0x5B
_CLOSE: Final = 0x5D
_NOT: Final = 0x5E
_DASH: Final = 0x2D
_ESCAPE: Final = 0x5C


class Glob:
    """A pattern; `prefix` is what every match begins with, `exact` whether it matches nothing else."""

    def __init__(self, pattern: bytes) -> None:
        pieces = list(_pieces(pattern))
        self.prefix = _literal_head(pattern)
        self.exact = len(pieces) == 1 and all(literal is not None for _, literal in pieces[0])
        self._sources = [b"".join(source for source, _ in piece) for piece in pieces]
        self._lengths = [len(piece) for piece in pieces]
        self._compiled = [re.compile(source, re.DOTALL) for source in self._sources]
        self._ends = re.compile(self._sources[-1] + rb"\Z", re.DOTALL)

    def matches(self, text: bytes) -> bool:
        """Whether the whole of `text` fits."""
        if self.exact:
            return text == self.prefix
        first = self._compiled[0]
        if len(self._compiled) == 1:
            return self._ends.match(text) is not None
        if first.match(text) is None:
            return False
        at = self._lengths[0]
        for piece in self._compiled[1:-1]:
            found = piece.search(text, at)
            if found is None:
                return False
            at = found.end()
        last_at = len(text) - self._lengths[-1]
        return last_at >= at and self._ends.match(text, last_at) is not None


def _pieces(pattern: bytes) -> Iterator[list[tuple[bytes, int | None]]]:
    """What stands between the stars: for each byte that is matched, the expression, and the byte if it is only one."""
    piece: list[tuple[bytes, int | None]] = []
    place = 0
    while place < len(pattern):
        byte = pattern[place]
        place += 1
        if byte == _STAR:
            yield piece
            piece = []
        elif byte == _ANY:
            piece.append((b".", None))
        elif byte == _OPEN:
            members, place = _members(pattern, place)
            piece.append((members, None))
        else:
            if byte == _ESCAPE and place < len(pattern):
                byte = pattern[place]
                place += 1
            piece.append((re.escape(bytes((byte,))), byte))
    yield piece


def _members(pattern: bytes, place: int) -> tuple[bytes, int]:
    """The expression for what stands behind `[`, and where it ends. Without `]` it goes on to the end."""
    negated = place < len(pattern) and pattern[place] == _NOT
    place += negated
    members: set[int] = set()
    while place < len(pattern) and pattern[place] != _CLOSE:
        if pattern[place] == _ESCAPE and place + 1 < len(pattern):
            place += 1
            members.add(pattern[place])
        elif place + 2 < len(pattern) and pattern[place + 1] == _DASH:
            low, high = sorted((pattern[place], pattern[place + 2]))
            members.update(range(low, high + 1))
            place += 2
        else:
            members.add(pattern[place])
        place += 1
    if negated:
        members = set(range(256)) - members
    source = b"".join(b"\\x%02x" % member for member in sorted(members))
    return (b"[%b]" % source if source else b"(?!)."), place + 1


def _literal_head(pattern: bytes) -> bytes:
    head = bytearray()
    for _, literal in next(_pieces(pattern)):
        if literal is None:
            break
        head.append(literal)
    return bytes(head)
