"""How much room the bodies of all requests take together, from their first byte to their answer.

A value may have a megabyte, and thousands of clients may send one at once: what would exceed the bound is refused
before it is read.
"""

from typing import Self

from kvstore import limits
from kvstore.errors import Overloaded


class Held:
    """What one request holds, until its `with` block ends."""

    __slots__ = ("_bodies", "taken")

    def __init__(self, bodies: "Bodies") -> None:
        self._bodies = bodies
        self.taken = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._bodies.taken -= self.taken

    def take(self, size: int) -> None:
        """Hold `size` bytes more. Raises Overloaded."""
        bodies = self._bodies
        if bodies.taken + size > limits.HTTP_BODIES_BYTES_MAX:
            raise Overloaded(f"bodies of {bodies.taken:,} bytes are being read already", retry_after_s=1.0)
        bodies.taken += size
        self.taken += size


class Bodies:
    """Bytes held by all requests."""

    def __init__(self) -> None:
        self.taken = 0

    def held(self) -> Held:
        """For one request: what it takes is given back when the `with` block ends."""
        return Held(self)
