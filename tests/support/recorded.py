"""Histories from what a recorder has written into memory."""

import io

import msgspec

from kvjepsen.records import History, Line, Pairing


def lines_of(sink: io.BytesIO) -> History:
    """The operations in it."""
    pairing = Pairing()
    for line in sink.getvalue().splitlines():
        pairing.add(msgspec.json.decode(line, type=Line))
    return pairing.history
