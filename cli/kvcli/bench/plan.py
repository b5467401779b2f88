"""What one measurement is to do, and the keys and values that follow from it."""

import random
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from kvcli.credentials import Credentials
from kvstore import limits
from kvstore.client import Tls

Workload = Literal["put", "get", "mixed", "batch", "watch"]
Operation = Literal["put", "get"]

# Of a value in a watch: the moment of its put, and its number.
STAMP_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """`clients`: how many do one call after the other, so the calls in flight; for a batch each call has `batch`
    operations. It ends after `seconds`, or after `count` calls if that is given and comes first. `reads_percent` of the
    operations are gets. `redis_endpoints`: HOST:PORT of Redis doors, for the door of that name.
    """

    workload: Workload
    endpoints: tuple[str, ...]
    door: str = "http"
    level: str = "quorum"
    clients: int = 16
    size_bytes: int = 100
    keys: int = 1_000
    seconds: float = 5.0
    count: int | None = None
    warmup_s: float = 0.5
    batch: int = 1
    reads_percent: int = 0
    watches: int = 0
    seed: int = 0
    keep: bool = False
    timeout_s: float = 5.0
    redis_endpoints: tuple[str, ...] = ()
    who: Credentials = field(default=Credentials(), repr=False)
    tls: Tls | None = None
    stem: str = field(default_factory=lambda: f"bench/{secrets.token_hex(4)}/")

    @property
    def setup_level(self) -> str:
        """The level of what is not measured. A cluster whose writes are measured at level one may have no majority."""
        return "one" if self.level == "one" and self.reads_percent == 0 else "quorum"

    @property
    def needs_keys(self) -> bool:
        """Whether the keys have to be there before."""
        return self.reads_percent > 0

    @property
    def calls_max(self) -> int:
        """After how many calls it ends in any case; each event of a watch counts as one."""
        bound = limits.BENCH_CALLS_MAX // max(1, self.watches)
        return bound if self.count is None else min(self.count, bound)

    def key_names(self) -> list[bytes]:
        """All keys, each below the stem of this run."""
        return [f"{self.stem}{number}".encode() for number in range(self.keys)]

    def value(self) -> bytes:
        """The value of every put: random, so that nothing on the way can make it small, and the same for each seed."""
        return random.Random(self.seed).randbytes(self.size_bytes)

    def operations(self, client: int) -> Callable[[], Operation]:
        """What client number `client` does next, and next: gets in their share, decided by the seed."""
        share, draw = self.reads_percent / 100, random.Random(f"{self.seed}/operation/{client}").random
        if share in (0, 1):
            only: Operation = "get" if share else "put"
            return lambda: only
        return lambda: "get" if draw() < share else "put"

    def key_numbers(self, client: int) -> Callable[[], int]:
        """The number of the key that client number `client` takes next, and next, decided by the seed."""
        draw, count = random.Random(f"{self.seed}/key/{client}").random, self.keys
        return lambda: int(draw() * count)
