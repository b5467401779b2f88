"""Keys are ordered as bytes are; here is what prefixes and exclusive bounds mean in that order. Pure."""


def prefix_end(prefix: bytes) -> bytes | None:
    """The least key above every key that starts with `prefix`: the exclusive end of its range.

    None means that there is no upper bound: for the empty prefix, and for one of 0xFF bytes only.

    >>> prefix_end(b"app/")
    b'app0'
    >>> prefix_end(b"a\\xff")
    b'b'
    """
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else None


def successor(key: bytes) -> bytes:
    """The least key above `key`: an inclusive bound at it is an exclusive one at `key`."""
    return key + b"\x00"
