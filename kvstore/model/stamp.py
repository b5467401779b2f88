"""Stamps: hybrid logical clock values, totally ordered.

A stamp is (wall milliseconds, counter, node, sequence). Tuples compare in that order, which is the order of stamps.
Source: Kulkarni et al., "Logical Physical Clocks" (2014); here the log gives the order, so that an entry's stamp is the
larger of the leader's clock and the stamp before it plus one.
"""

from typing import NamedTuple


class Stamp(NamedTuple):
    """`ms` since the Unix epoch, `counter` within it, the `node` that issued it, its `sequence` there."""

    ms: int
    counter: int
    node: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.ms}.{self.counter}.{self.node}.{self.sequence}"


ZERO_STAMP = Stamp(0, 0, "", 0)


def next_stamp(wall_ms: int, last: Stamp, node: str) -> Stamp:
    """The stamp of the next entry: above `last` always, at the wall clock where that is ahead."""
    if wall_ms > last.ms:
        return Stamp(wall_ms, 0, node, 0)
    return Stamp(last.ms, last.counter + 1, node, 0)
