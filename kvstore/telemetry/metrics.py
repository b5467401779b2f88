"""Metrics: one registry for each server, nothing global, so that several nodes can live in one process.

Two kinds. What happens often is counted where it happens, through an object resolved beforehand (`HttpMeter`,
`RedisMeter`, `journal_sync_seconds`). What is merely true at the moment is read by a callable when somebody asks
(`watch`).
"""

import math
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import NamedTuple

import structlog
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from kvstore.telemetry.catalogue import ROWS, Row

_log = structlog.get_logger("kvstore.telemetry")

# Seconds. The lower end tells an in-memory read from one that took a round, the upper end is the default deadline.
_REQUEST_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_SYNC_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

# Of what is no error, or a read, the status says how it ended.
_OUTCOMES = {202: "pending", 404: "absent"}

Value = float | Mapping[str, float] | Mapping[tuple[str, ...], float]


class _Watched(NamedTuple):
    row: Row
    read: Callable[[], Value]


class _Watches(Collector):
    """Turns the callables given to `Metrics.watch` into samples at scrape time."""

    def __init__(self) -> None:
        self.watched: dict[str, _Watched] = {}

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        for row, read in self.watched.values():
            try:
                value = read()
            except Exception as failed:
                # One broken number must not hide all the others from whoever is looking for the fault.
                _log.warning("metric_unreadable", metric=row.name, error=repr(failed))
                continue
            yield _family(row, value)


def _family(row: Row, value: Value) -> Metric:
    kind = GaugeMetricFamily if row.kind == "gauge" else CounterMetricFamily
    family = kind(row.name, row.meaning, labels=row.labels or None)
    if isinstance(value, Mapping):
        for label, number in list(value.items()):
            family.add_metric([label] if isinstance(label, str) else list(label), number)
    else:
        family.add_metric([], value)
    return family


class Seconds:
    """How long something took, by bucket, counted in plain numbers: the library's own histograms take a lock."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = _REQUEST_BUCKETS) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        """Once more, and so long."""
        self.counts[bisect_left(self._bounds, seconds)] += 1
        self.total += seconds

    def add(self, other: "Seconds") -> None:
        """All that `other` has, which has the same bounds."""
        self.counts = [own + theirs for own, theirs in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    @property
    def count(self) -> int:
        """How often."""
        return sum(self.counts)

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound -> how often up to it, as a histogram has it."""
        bounds = map(floatToGoString, (*self._bounds, math.inf))
        return [*zip(bounds, map(float, accumulate(self.counts)), strict=True)]


class HttpMeter:
    """One method on one route. A request pays for additions to plain numbers: the library's own counters take a lock
    each time, which costs more than all the rest of what is measured here.
    """

    __slots__ = ("_cells", "kind", "method", "route", "service")

    def __init__(self, method: str, route: str, kind: str) -> None:
        self.method = method
        self.route = route
        self.kind = kind
        self.service = service_of(route)
        self._cells: dict[tuple[int, str, str], Seconds] = {}

    def done(self, status: int, level: str, seconds: float, outcome: str = "") -> None:
        """Counts one answered request. `level` is "" where levels mean nothing; `outcome` of an error, if it has one:
        of others it follows from the status.
        """
        cell = self._cells.get((status, level, outcome))
        if cell is None:
            cell = self._cells[status, level, outcome] = Seconds()
        cell.observe(seconds)

    def __iter__(self) -> Iterator[tuple[int, str, str, Seconds]]:
        """(status, level, outcome, how long)."""
        for (status, level, outcome), cell in list(self._cells.items()):
            if not outcome:
                outcome = _OUTCOMES.get(status) or ("ok" if status < 400 else "failed")
            yield status, level, outcome, cell


def service_of(route: str) -> str:
    """The part of the API that `route` belongs to: what comes first in it, behind the version. A bounded set, as routes
    are.
    """
    parts = route.removeprefix("/v1").strip("/").split("/")
    return parts[0].partition(".")[0] or "other"


class _Meters(Collector):
    """All meters, as samples: the cells are put together when somebody asks."""

    def __init__(self) -> None:
        self.meters: list[HttpMeter] = []

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        by_route: dict[tuple[str, ...], Seconds] = {}
        by_status: dict[tuple[str, ...], int] = {}
        by_outcome: dict[tuple[str, ...], Seconds] = {}
        by_service: dict[tuple[str, ...], Seconds] = {}
        for meter in self.meters:
            for status, level, outcome, cell in meter:
                by_route.setdefault((meter.method, meter.route, level), Seconds()).add(cell)
                place = meter.method, meter.route, str(status)
                by_status[place] = by_status.get(place, 0) + cell.count
                by_service.setdefault((meter.service, meter.method, str(status)), Seconds()).add(cell)
                if level and meter.kind:
                    by_outcome.setdefault((meter.kind, level, outcome), Seconds()).add(cell)
        yield _family(ROWS["kv_http_requests_total"], by_status)
        yield _family(ROWS["request_count_total"], {place: each.count for place, each in by_service.items()})
        for name, found in (
            ("kv_http_request_seconds", by_route),
            ("kv_request_seconds", by_outcome),
            ("request_duration_seconds", by_service),
        ):
            yield _histogram(ROWS[name], found)


class _Timers(Collector):
    """Histograms without a door, as samples."""

    def __init__(self) -> None:
        self.timers: dict[str, dict[tuple[str, ...], Seconds]] = {}

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        for name, found in self.timers.items():
            yield _histogram(ROWS[name], found)


def _histogram(row: Row, found: Mapping[tuple[str, ...], Seconds]) -> Metric:
    family = HistogramMetricFamily(row.name, row.meaning, labels=row.labels or None)
    for labels, seconds in found.items():
        family.add_metric(list(labels), seconds.buckets(), seconds.total)
    return family


class RedisMeter:
    """Commands of the Redis door. They come in tens of thousands a second, so that they are counted in plain numbers,
    which are read when somebody asks.
    """

    __slots__ = ("_seconds", "counts", "total")

    def __init__(self, metrics: "Metrics") -> None:
        self.counts: dict[tuple[str, ...], float] = {}
        """(command, "ok" or the first word of the error) -> how often. Both must come from a bounded set."""
        self.total = 0
        self._seconds: dict[tuple[str, str], Seconds] = {}
        metrics.watch("kv_redis_commands_total", lambda: self.counts)
        for kind in ("read", "write"):
            for level in ("one", "quorum", "all"):
                self._seconds[kind, level] = metrics.timer("kv_redis_wait_seconds", (kind, level), _REQUEST_BUCKETS)

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
        self._timers = _Timers()
        self.registry.register(self._timers)
        self.journal_sync_seconds = self.timer("kv_journal_sync_seconds")
        self.intent_sync_seconds = self.timer("kv_intent_sync_seconds")
        self.commit_seconds = self.timer("kv_commit_seconds", bounds=_REQUEST_BUCKETS)
        self._watches = _Watches()
        self.registry.register(self._watches)
        self.watch("kv_python_allocated_blocks", sys.getallocatedblocks)

    def timer(self, name: str, labels: tuple[str, ...] = (), bounds: tuple[float, ...] = _SYNC_BUCKETS) -> Seconds:
        """A histogram of seconds, for these values of its labels, which must come from a bounded set."""
        timer = self._timers.timers.setdefault(name, {})[labels] = Seconds(bounds)
        return timer

    def http_meter(self, method: str, route: str, kind: str = "") -> HttpMeter:
        """The meter of `method` on `route`, a path template. Both must come from a bounded set. `kind`: read or write,
        where levels mean something.
        """
        meter = HttpMeter(method, route, kind)
        self._meters.meters.append(meter)
        return meter

    def watch(self, name: str, read: Callable[[], Value]) -> None:
        """Publishes what `read` returns at each scrape: a number, or, for a metric with labels, a number for each of
        their values (for several labels, of tuples of them).

        `name` has a row in `kvstore.telemetry.catalogue`; raises KeyError otherwise, and ValueError if it is taken.
        """
        if name in self._watches.watched:
            raise ValueError(f"the metric {name} is watched already")
        self._watches.watched[name] = _Watched(ROWS[name], read)

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All samples in the text format that `accept` prefers, and the content type of that format."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type
