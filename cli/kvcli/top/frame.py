"""A frame: what two rounds of questions say about the time between them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kvcli.metrics_text import Buckets, Samples
from kvcli.scraping import Told
from kvcli.situation import best
from kvstore.model.results import ClusterView, MemberView

_REQUESTS: Final = "kv_http_request_seconds"
_OUTCOMES: Final = "kv_request_seconds"
_STATUSES: Final = "kv_http_requests_total"
_SYNCS: Final = "kv_journal_sync_seconds"
# Questions about the nodes themselves, ours among them, are no load.
_ASIDE: Final = frozenset({"/v1/cluster", "/metrics", "/livez", "/readyz", "/ui", "/docs", "/openapi.json"})
_EMPTY: Final = Buckets(())


class Node(NamedTuple):
    """One member now, and between the rounds; None for what is not known. `lag`: entries behind the commit index."""

    name: str
    role: str
    reachable: bool
    applied_index: int | None
    lag: int | None
    pending: int
    requests_hz: float | None
    errors_hz: float | None
    sync_p99_s: float | None
    connections: int | None
    watches: int | None
    memory_bytes: int | None
    disk_free_bytes: int | None


class Load(NamedTuple):
    """Requests of one kind between the rounds, of all nodes together: `kind` read, write or other. `outcome`: what
    became of them, where the nodes tell it (kv_request_seconds), else "".
    """

    kind: str
    level: str
    outcome: str
    hz: float
    p50_s: float | None
    p99_s: float | None


class Frame(NamedTuple):
    """`seconds`: between the rounds; 0 in a first frame, which has no rates."""

    leader: str | None
    term: int
    revision: int
    commit_index: int
    keys: int | None
    leader_changes: int | None
    seconds: float
    nodes: Sequence[Node]
    loads: Sequence[Load]
    statuses: Mapping[str, float]
    alarms: Sequence[Mapping[str, Any]]
    silent: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """The document of `-o json`."""
        return {
            **self._asdict(),
            "nodes": [node._asdict() for node in self.nodes],
            "loads": [load._asdict() for load in self.loads],
            "statuses": dict(self.statuses),
            "alarms": [dict(alarm) for alarm in self.alarms],
            "silent": list(self.silent),
        }


def frame(now: Sequence[Told], before: Sequence[Told]) -> Frame:
    """What the rounds say; somebody has answered in `now`. `before` is empty for a first frame."""
    view = best([each.view for each in now if isinstance(each.view, ClusterView)])
    current, former = _by_name(now), _by_name(before)
    seconds = {name: each.at - former[name].at for name, each in current.items() if name in former}
    passed = max(seconds.values(), default=0.0)
    pairs = [(_samples(current[name]), _samples(former[name]), seconds[name]) for name in seconds]
    known = [pair for pair in pairs if pair[0] is not None and pair[1] is not None and pair[2] > 0]
    leading = next((samples for each in now if each.name == view.leader and (samples := _samples(each))), None)
    any_samples = leading or next((samples for each in now if (samples := _samples(each))), None)
    return Frame(
        view.leader,
        view.term,
        view.revision,
        view.commit_index,
        _whole(any_samples, "kv_store_keys"),
        _whole(any_samples, "kv_raft_leader_changes_total"),
        round(passed, 3),
        [_node(member, view, current.get(member.name), former.get(member.name)) for member in view.members],
        list(_loads(known)),
        _statuses(known),
        view.alarms,
        sorted(
            each.name or each.endpoint
            for each in now
            if each.given and (isinstance(each.view, Exception) or isinstance(each.metrics, Exception))
        ),
    )


def _by_name(told: Sequence[Told]) -> dict[str, Told]:
    return {each.name: each for each in told if each.name is not None}


def _samples(told: Told | None) -> Samples | None:
    return told.metrics if told is not None and isinstance(told.metrics, Samples) else None


def _whole(samples: Samples | None, name: str, **labels: str) -> int | None:
    value = None if samples is None else samples.total(name, **labels)
    return None if value is None else int(value)


def _node(member: MemberView, view: ClusterView, told: Told | None, before: Told | None) -> Node:
    now, former = _samples(told), _samples(before)
    seconds = told.at - before.at if told is not None and before is not None else 0.0
    rates: tuple[float, float] | None = None
    sync: float | None = None
    if now is not None and former is not None and seconds > 0:
        counts = _of_statuses(now, former)
        rates = sum(counts.values()) / seconds, sum(n for status, n in counts.items() if status >= "5") / seconds
        sync = now.buckets(_SYNCS).since(former.buckets(_SYNCS)).quantile(0.99)
    lag = None if member.applied_index is None else max(0, view.commit_index - member.applied_index)
    return Node(
        member.name,
        member.role,
        member.reachable,
        member.applied_index,
        lag,
        member.intents_pending,
        None if rates is None else round(rates[0], 1),
        None if rates is None else round(rates[1], 1),
        sync,
        _whole(now, "kv_http_connections"),
        _whole(now, "kv_watches"),
        _whole(now, "process_resident_memory_bytes"),
        _whole(now, "kv_disk_free_bytes"),
    )


def _kind(method: str, route: str) -> str:
    if route in ("/v1/batch", "/v1/txn"):
        return "batch, txn"
    if route.startswith("/v1/kv"):
        return "read" if method in ("GET", "HEAD") else "write"
    return "other"


def _place(labels: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Kind, level and outcome of a row of a histogram of requests; None for what is told elsewhere, or is no load."""
    if "outcome" in labels:
        return labels.get("kind", ""), labels.get("level", ""), labels["outcome"]
    method, route = labels.get("method", ""), labels.get("route", "")
    return None if route in _ASIDE else (_kind(method, route), labels.get("level", ""), "")


def _loads(pairs: Iterable[tuple[Samples | None, Samples | None, float]]) -> Iterable[Load]:
    """Every kind, level and outcome that had requests, the busiest first. Where a node tells outcomes, they are taken
    for what has a level.
    """
    found: dict[tuple[str, str, str], tuple[Buckets, float]] = {}
    for now, former, seconds in pairs:
        assert now is not None
        assert former is not None
        outcomes = f"{_OUTCOMES}_count" in now
        for name in (_OUTCOMES, _REQUESTS):
            for labels, _ in now.rows(f"{name}_count"):
                place = _place(labels)
                if place is None or (name == _REQUESTS and outcomes and place[1]):
                    continue
                came = now.buckets(name, **labels).since(former.buckets(name, **labels))
                buckets, hz = found.get(place, (_EMPTY, 0.0))
                found[place] = buckets.plus(came), hz + came.total / seconds
    for (kind, level, outcome), (buckets, hz) in sorted(found.items(), key=lambda item: -item[1][1]):
        if buckets.total:
            yield Load(kind, level, outcome, round(hz, 1), buckets.quantile(0.5), buckets.quantile(0.99))


def _statuses(pairs: Iterable[tuple[Samples | None, Samples | None, float]]) -> dict[str, float]:
    """Answers a second by status."""
    found: dict[str, float] = {}
    for now, former, seconds in pairs:
        assert now is not None
        assert former is not None
        for status, count in _of_statuses(now, former).items():
            found[status] = found.get(status, 0.0) + count / seconds
    return {status: round(hz, 1) for status, hz in sorted(found.items()) if hz}


def _of_statuses(now: Samples, former: Samples) -> dict[str, float]:
    counts: dict[str, float] = {}
    for labels, value in now.rows(_STATUSES):
        if labels.get("route") not in _ASIDE:
            known = former.get(_STATUSES, **labels) or 0.0
            status = labels.get("status", "?")
            counts[status] = counts.get(status, 0.0) + (value - known if value >= known else value)
    return counts
