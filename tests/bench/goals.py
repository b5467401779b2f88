"""The speeds that this store is to reach, as ratios to others in the same run, and whether it does."""

from collections.abc import Sequence
from typing import Final, NamedTuple

from tests.bench.table import LINES, markdown, measured, ratio
from tests.bench.work import Row


class Goal(NamedTuple):
    """`title` of a line of the table, ours divided by theirs: at least or at most `bound`."""

    ours: str
    title: str
    theirs: str
    bound: float
    at_least: bool


_AT_MOST: Final = False
_AT_LEAST: Final = True
_ALWAYS: Final = (
    Goal("kvstore-http", "PUT/s, 64 in flight", "etcd-http", 2.2, _AT_LEAST),
    Goal("kvstore-http", "GET/s, 64 in flight", "etcd-http", 2.5, _AT_LEAST),
    Goal("kvstore-batch", "GET/s, 64 in flight", "etcd-http", 5.0, _AT_LEAST),
    Goal("kvstore-redis", "GET/s, 64 in flight", "etcd-http", 5.0, _AT_LEAST),
    Goal("kvstore-http", "PUT, 1 client, p50 ms", "etcd-http", 0.7, _AT_MOST),
    Goal("kvstore-http", "CPU of the servers per PUT at 64, us", "etcd-http", 1.0, _AT_MOST),
    Goal("kvstore-batch", "CPU of the servers per PUT at 64, us", "etcd-http", 1.0, _AT_MOST),
    Goal("kvstore-redis", "CPU of the servers per PUT at 64, us", "etcd-http", 1.0, _AT_MOST),
    Goal("kvstore-http", "write gap after SIGKILL of the leader, s", "zookeeper", 1.0, _AT_MOST),
)
_WITH_GRPC: Final = (
    Goal("kvstore-batch", "PUT/s, 64 in flight", "etcd-grpc", 4.0, _AT_LEAST),
    Goal("kvstore-batch", "PUT/s, 256 in flight", "etcd-grpc", 4.0, _AT_LEAST),
    Goal("kvstore-redis", "PUT/s, 64 in flight", "etcd-grpc", 4.0, _AT_LEAST),
    Goal("kvstore-redis", "PUT/s, 256 in flight", "etcd-grpc", 4.0, _AT_LEAST),
)
_WITHOUT_GRPC: Final = (
    Goal("kvstore-batch", "PUT/s, 64 in flight", "etcd-http", 6.0, _AT_LEAST),
    Goal("kvstore-batch", "PUT/s, 256 in flight", "etcd-http", 6.0, _AT_LEAST),
    Goal("kvstore-redis", "PUT/s, 64 in flight", "etcd-http", 6.0, _AT_LEAST),
    Goal("kvstore-redis", "PUT/s, 256 in flight", "etcd-http", 6.0, _AT_LEAST),
)


def goals(rows: Sequence[Row]) -> tuple[Goal, ...]:
    """Those that count for what was measured: where etcd could be loaded by gRPC, that is what is compared with."""
    return _ALWAYS + (_WITH_GRPC if "etcd-grpc" in measured(rows) else _WITHOUT_GRPC)


def judged(rows: Sequence[Row]) -> str:
    """A table of Markdown: each goal, what was measured, and by how much it is missed."""
    lines = []
    for goal in goals(rows):
        line = next(line for line in LINES if line.title == goal.title)
        found = ratio(rows, goal.ours, goal.theirs, line)
        wanted = f"{'at least' if goal.at_least else 'at most'} {goal.bound:g}"
        name = f"{goal.ours} / {goal.theirs}: {goal.title}"
        if found is None:
            lines.append([name, wanted, "-", "not measured"])
            continue
        met = found.median >= goal.bound if goal.at_least else found.median <= goal.bound
        share = abs(1 - found.median / goal.bound)
        missed = f"missed by {share:.{0 if share >= 0.01 else 1}%}"
        lines.append([name, wanted, found.text(2), "met" if met else missed])
    return markdown(["goal", "ratio", "measured", ""], lines)
