"""What is done to bytes: damage that a generator decides, outside of spans that have to stay as they are."""

import random
from collections.abc import Sequence

Span = tuple[int, int]

INTERESTING = (
    b"",
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\r\n",
    b"\r\n\r\n",
    b"%00",
    b"%",
    b"-1",
    b"9" * 20,
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"{" * 64,
    b"[" * 64,
    b"A" * 300,
)


def spans(data: bytes, atoms: Sequence[bytes]) -> list[Span]:
    """Where `atoms` lie in `data`."""
    found: list[Span] = []
    for atom in atoms:
        at = data.find(atom)
        while atom and at >= 0:
            found.append((at, at + len(atom)))
            at = data.find(atom, at + 1)
    return sorted(found)


def damaged(rng: random.Random, data: bytes, atoms: Sequence[bytes] = (), times: int | None = None) -> bytes:
    """`data` after one to four changes (or `times`); every one of `atoms` in it is whole afterwards."""
    for _ in range(rng.randint(1, 4) if times is None else times):
        data = _once(rng, data, spans(data, atoms))
    return data


def _once(rng: random.Random, data: bytes, kept: Sequence[Span]) -> bytes:
    at = rng.randint(0, len(data))
    for start, end in kept:
        if start < at < end:
            at = rng.choice((start, end))
    inside = next((start for start, _ in kept if start >= at), len(data))  # up to here bytes may be changed or cut
    free = inside - at
    match rng.randrange(7):
        case 0 if free:
            return data[:at] + bytes((data[at] ^ 1 << rng.randrange(8),)) + data[at + 1 :]
        case 1 if free:
            return data[:at] + rng.randbytes(1) + data[at + 1 :]
        case 2 if free:
            return data[:at] + data[at + rng.randint(1, min(free, 40)) :]
        case 3:
            return data[:at] + rng.choice(INTERESTING) + data[at:]
        case 4 if free:
            piece = data[at : at + rng.randint(1, min(free, 60))]
            return data[:at] + piece * rng.randint(2, 5) + data[at:]
        case 5 if free:
            much = min(free, rng.choice((1, 2, 4, 8)))
            return data[:at] + rng.choice((b"\xff", b"\0", b"\x7f")) * much + data[at + much :]
        case _:
            return data[:at] + rng.randbytes(rng.randint(1, 12)) + data[at:]
