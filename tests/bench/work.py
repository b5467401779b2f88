"""The work that every system is given, and what one run of it gave."""

from typing import Final, Literal, NamedTuple, TypedDict

Operation = Literal["put", "get", "stale"]

KEYS: Final = 10_000
VALUE_BYTES: Final = 100
VALUE: Final = b"x" * VALUE_BYTES


class Work(NamedTuple):
    """`clients` operations in flight, each of one key of 10,000. `stale`: a read that one node answers by itself."""

    name: str
    operation: Operation
    clients: int


LOADS: Final = {
    work.name: work
    for work in (
        Work("put-1", "put", 1),
        Work("put-64", "put", 64),
        Work("put-256", "put", 256),
        Work("get-1", "get", 1),
        Work("get-64", "get", 64),
        Work("stale-64", "stale", 64),
    )
}
REST: Final = "rest"
FAILOVER: Final = "failover"
WORKS: Final = (*LOADS, FAILOVER, REST)


class Told(NamedTuple):
    """What a load generator told. `total`: operations of the whole run, warm-up included; `threads`: how many cores it
    could use. `cpu_s`: of the whole run if the generator knows it, else what the system says of the process.
    """

    operations: int
    seconds: float
    total: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    errors: int = 0
    error: str | None = None
    threads: int = 1
    cpu_share: float | None = None


class Row(TypedDict, total=False):
    """A line of rows.jsonl. The first three name it; `failed` instead of figures says why there are none."""

    round: int
    system: str
    work: str
    at: str
    failed: str
    operations: int
    seconds: float
    per_second: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    errors: int
    error: str | None
    generator: str
    generator_cpu_share: float
    generator_cpu_us: float
    generator_is_the_limit: bool
    server_cpu_us: float
    leader_cpu_us: float
    others_cpu_share: float
    stolen_cpu_share: float
    busy_cpu_share: float
    gap_s: float
    acknowledged: int
    rss_mib: list[float]
    rss_loaded_mib: list[float]
    idle_cpu_share: float
