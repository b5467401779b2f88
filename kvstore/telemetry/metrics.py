"""Metrics: one registry for each server, nothing global, so that several nodes can live in one process.

Two kinds. What happens often is counted where it happens, through an object resolved beforehand (`HttpMeter`,
`RedisMeter`, `journal_sync_seconds`). What is merely true at the moment is read by a callable when somebody asks
(`watch`).
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Literal, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_log = structlog.get_logger("kvstore.telemetry")

# Seconds. The lower end tells an in-memory read from one that took a round, the upper end is the default deadline.
_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_REQUEST_BOUNDS = tuple(map(floatToGoString, (*_REQUEST_BUCKETS, math.inf)))
_SYNC_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

Kind = Literal["gauge", "counter"]
Value = float | Mapping[str, float] | Mapping[tuple[str, ...], float]


class _Watched(NamedTuple):
    name: str
    help: str
    kind: Kind
    labels: tuple[str, ...]
    read: Callable[[], Value]


class _Watches(Collector):
    """Turns the callables given to `Metrics.watch` into samples at scrape time."""

    def __init__(self) -> None:
        self.watched: dict[str, _Watched] = {}

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        for watched in self.watched.values():
            try:
                value = watched.read()
            except Exception as failed:
                # One broken number must not hide all the others from whoever is looking for the fault.
                _log.warning("metric_unreadable", metric=watched.name, error=repr(failed))
                continue
            yield _family(watched, value)


def _family(watched: _Watched, value: Value) -> Metric:
    kind = GaugeMetricFamily if watched.kind == "gauge" else CounterMetricFamily
    family = kind(watched.name, watched.help, labels=watched.labels or None)
    if isinstance(value, Mapping):
        for label, number in list(value.items()):
            family.add_metric([label] if isinstance(label, str) else list(label), number)
    else:
        family.add_metric([], value)
    return family


class HttpMeter:
    """One method on one route. A request pays for additions to plain numbers: the library's own counters take a lock
    each time, which costs more than all the rest of what is measured here.
    """

    __slots__ = ("levels", "method", "route", "statuses")

    def __init__(self, method: str, route: str) -> None:
        self.method = method
        self.route = route
        self.statuses: dict[int, int] = {}
        # Level to how many requests took how long, by bucket, and their seconds together.
        self.levels: dict[str, tuple[list[int], list[float]]] = {}

    def done(self, status: int, level: str, seconds: float) -> None:
        """Counts one answered request. `level` is "" where levels mean nothing."""
        self.statuses[status] = self.statuses.get(status, 0) + 1
        of_level = self.levels.get(level)
        if of_level is None:
            of_level = self.levels[level] = ([0] * (len(_REQUEST_BUCKETS) + 1), [0.0])
        of_level[0][bisect_left(_REQUEST_BUCKETS, seconds)] += 1
        of_level[1][0] += seconds


class _Meters(Collector):
    """All meters, as samples."""

    def __init__(self) -> None:
        self.meters: list[HttpMeter] = []

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "kv_http_requests", "HTTP requests answered.", labels=["method", "route", "status"]
        )
        seconds = HistogramMetricFamily(
            "kv_http_request_seconds",
            "Seconds from the head of a request to its answer being ready to send.",
            labels=["method", "route", "level"],
        )
        for meter in self.meters:
            for status, count in meter.statuses.items():
                requests.add_metric([meter.method, meter.route, str(status)], count)
            for level, (counts, (total,)) in meter.levels.items():
                reached = [*map(float, accumulate(counts))]
                buckets = [*zip(_REQUEST_BOUNDS, reached, strict=True)]
                seconds.add_metric([meter.method, meter.route, level], buckets, total)
        yield requests
        yield seconds


class RedisMeter:
    """Commands of the Redis door. They come in tens of thousands a second, so that they are counted in plain numbers,
    which are read when somebody asks.
    """

    __slots__ = ("_seconds", "counts", "total")

    def __init__(self, metrics: "Metrics") -> None:
        self.counts: dict[tuple[str, ...], float] = {}
        """(command, "ok" or the first word of the error) -> how often. Both must come from a bounded set."""
        self.total = 0
        self._seconds: dict[tuple[str, str], Histogram] = {}
        metrics.watch(
            "kv_redis_commands",
            "Commands of the Redis door answered.",
            lambda: self.counts,
            kind="counter",
            label=("command", "outcome"),
        )
        seconds = Histogram(
            "kv_redis_wait_seconds",
            "Seconds that what the Redis door took to the node together, reads or writes, waited there.",
            ["kind", "level"],
            buckets=_REQUEST_BUCKETS,
            registry=metrics.registry,
        )
        for kind in ("read", "write"):
            for level in ("one", "quorum", "all"):
                self._seconds[kind, level] = seconds.labels(kind, level)

    def done(self, which: tuple[str, str], count: int = 1) -> None:
        """Counts `count` answers."""
        self.total += count
        counts = self.counts
        counts[which] = counts.get(which, 0) + count

    def waited(self, kind: str, level: str, seconds: float) -> None:
        """How long reads or writes ("read", "write") of one turn, taken to the node together, took there."""
        self._seconds[kind, level].observe(seconds)


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._meters = _Meters()
        self.registry.register(self._meters)
        self.journal_sync_seconds = Histogram(
            "kv_journal_sync_seconds",
            "Seconds that one sync of the journal took.",
            buckets=_SYNC_BUCKETS,
            registry=self.registry,
        )
        self._watches = _Watches()
        self.registry.register(self._watches)

    def http_meter(self, method: str, route: str) -> HttpMeter:
        """The meter of `method` on `route`, a path template. Both must come from a bounded set."""
        meter = HttpMeter(method, route)
        self._meters.meters.append(meter)
        return meter

    def watch(
        self,
        name: str,
        text: str,
        read: Callable[[], Value],
        *,
        kind: Kind = "gauge",
        label: str | tuple[str, ...] | None = None,
    ) -> None:
        """Publishes what `read` returns at each scrape: a number, or with `label` a number for each of its values (for
        several labels, tuples of them).

        A counter's name goes without `_total`, which the exposition adds. Raises ValueError if `name` is taken.
        """
        if name in self._watches.watched:
            raise ValueError(f"the metric {name} is watched already")
        labels = () if label is None else (label,) if isinstance(label, str) else label
        self._watches.watched[name] = _Watched(name, text, kind, labels, read)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All samples in the text format that `accept` prefers, and the content type of that format."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
