"""Leases: which there are, how long each lasts without being kept alive, and which keys go with it.

L1. A lease's id comes from a counter and is never given again.
L2. A key is attached to one lease at most. A put attaches it to the lease that it names, or to none; a delete detaches
    it.
L3. A lease ends with all keys that are attached to it, at one revision: revoked by a client, or expired by the leader
    of the term in which the entry stands. Time does not pass here: how long ago a lease was kept alive only the leader
    knows.
L4. The number of leases is bounded, and so is that of the keys of one, so that its end is no longer than one entry may
    be.
"""

from collections.abc import Iterator
from typing import Any


class Leases:
    """Id -> time to live, and the keys of each."""

    __slots__ = ("_keys", "_ttls", "next_id")

    def __init__(self) -> None:
        self._ttls: dict[int, int] = {}
        self._keys: dict[int, set[bytes]] = {}
        self.next_id = 1

    def __len__(self) -> int:
        return len(self._ttls)

    def __contains__(self, lease: int) -> bool:
        return lease in self._ttls

    def __iter__(self) -> Iterator[int]:
        """The ids, rising."""
        return iter(self._ttls)

    def ttl_ms(self, lease: int) -> int | None:
        """How long it lasts without being kept alive; None if there is no such lease."""
        return self._ttls.get(lease)

    def keys(self, lease: int) -> list[bytes]:
        """The keys attached to it, rising."""
        return sorted(self._keys.get(lease, ()))

    def count(self, lease: int) -> int:
        """How many keys are attached to it."""
        return len(self._keys.get(lease, ()))

    def grant(self, ttl_ms: int) -> int:
        """The id of a new lease."""
        lease = self.next_id
        self.next_id += 1
        self._ttls[lease] = ttl_ms
        return lease

    def end(self, lease: int) -> None:
        """Forget a lease that has no keys any more."""
        assert lease not in self._keys
        del self._ttls[lease]

    def attach(self, lease: int, key: bytes) -> None:
        """`key` goes with `lease`."""
        self._keys.setdefault(lease, set()).add(key)

    def detach(self, lease: int, key: bytes) -> None:
        """`key` goes with `lease` no more."""
        keys = self._keys[lease]
        keys.remove(key)
        if not keys:
            del self._keys[lease]

    # -- snapshots

    def rows(self) -> list[tuple[int, int]]:
        """(id, time to live) of each, rising. Their keys are told by the records."""
        return list(self._ttls.items())

    def add_row(self, row: Any) -> None:
        """Take back one of `rows`. Raises ValueError or TypeError for anything else."""
        lease, ttl_ms = row
        if type(lease) is not int or type(ttl_ms) is not int or ttl_ms <= 0:
            raise ValueError("a lease that cannot be one")
        if not next(reversed(self._ttls), 0) < lease < self.next_id:
            raise ValueError("leases that are not in order, or were never given out")
        self._ttls[lease] = ttl_ms
