"""Metrics live in a registry of their own; logs are one JSON object a line off a terminal."""

import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from kvstore.http.routes import ROUTES
from kvstore.limits import TRACE_EVENTS_MAX
from kvstore.telemetry import catalogue
from kvstore.telemetry.catalogue import GROUPS, ROWS
from kvstore.telemetry.logging import set_up
from kvstore.telemetry.metrics import Metrics, RedisMeter, service_of
from kvstore.telemetry.slow import SlowRequests
from kvstore.telemetry.trace import ProtocolTrace


@pytest.fixture
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_two_servers_in_one_process_do_not_share_numbers() -> None:
    first, second = Metrics(), Metrics()
    first.http_meter("GET", "/livez").done(200, "", 0.001)
    line = 'kv_http_requests_total{method="GET",route="/livez",status="200"} 1.0'
    assert line in first.exposition("")[0].decode()
    assert "/livez" not in second.exposition("")[0].decode()


def test_watched_values_are_read_at_each_scrape() -> None:
    metrics = Metrics()
    term = 3.0
    metrics.watch("kv_raft_term", lambda: term)
    metrics.watch("kv_raft_member_lag_entries", lambda: {"n1": 7, "n2": 5})
    metrics.watch("kv_raft_elections_total", lambda: 2)
    metrics.watch("kv_tls_refused_total", lambda: {("http", "no_cert"): 3})
    assert "kv_raft_term 3.0" in metrics.exposition("")[0].decode()
    term = 4.0
    text = metrics.exposition("")[0].decode()
    assert "kv_raft_term 4.0" in text
    assert 'kv_raft_member_lag_entries{member="n2"} 5.0' in text
    assert "# TYPE kv_raft_elections_total counter\nkv_raft_elections_total 2.0" in text
    assert 'kv_tls_refused_total{door="http",reason="no_cert"} 3.0' in text
    with pytest.raises(ValueError, match="kv_raft_term"):
        metrics.watch("kv_raft_term", lambda: 0)
    with pytest.raises(KeyError, match="kv_raft_terms"):
        metrics.watch("kv_raft_terms", lambda: 0)


def test_commands_of_the_redis_door_are_counted_by_their_outcome() -> None:
    metrics = Metrics()
    meter = RedisMeter(metrics)
    meter.done(("SET", "ok"), 3)
    meter.done(("SET", "NOQUORUM"))
    meter.waited("write", "quorum", 0.002)
    text = metrics.exposition("")[0].decode()
    assert 'kv_redis_commands_total{command="SET",outcome="ok"} 3.0' in text
    assert 'kv_redis_commands_total{command="SET",outcome="NOQUORUM"} 1.0' in text
    assert 'kv_redis_wait_seconds_bucket{kind="write",le="0.0025",level="quorum"} 1.0' in text
    assert meter.total == 4


def test_a_value_that_cannot_be_read_hides_no_other() -> None:
    metrics = Metrics()

    def broken() -> float:
        raise RuntimeError("gone")

    metrics.watch("kv_raft_voters", broken)
    metrics.watch("kv_raft_term", lambda: 1)
    text = metrics.exposition("")[0].decode()
    assert "kv_raft_term 1.0" in text
    assert "kv_raft_voters" not in text


def test_a_request_is_counted_by_route_by_level_and_outcome_and_by_part_of_the_api() -> None:
    metrics = Metrics()
    put, get = metrics.http_meter("PUT", "/v1/kv/{key}", "write"), metrics.http_meter("GET", "/v1/kv/{key}", "read")
    for status, outcome, seconds in ((200, "", 0.002), (504, "unknown", 5.0), (504, "committed", 1.5)):
        put.done(status, "all", seconds, outcome)
    put.done(202, "one", 0.0004)
    get.done(404, "quorum", 0.002)
    get.done(503, "quorum", 0.3)
    metrics.journal_sync_seconds.observe(0.0002)
    text = metrics.exposition("")[0].decode()
    for line in (
        'kv_http_requests_total{method="PUT",route="/v1/kv/{key}",status="504"} 2.0',
        'kv_http_request_seconds_bucket{le="0.0025",level="all",method="PUT",route="/v1/kv/{key}"} 1.0',
        'kv_http_request_seconds_count{level="all",method="PUT",route="/v1/kv/{key}"} 3.0',
        'kv_request_seconds_bucket{kind="write",le="5.0",level="all",outcome="unknown"} 1.0',
        'kv_request_seconds_bucket{kind="write",le="2.5",level="all",outcome="unknown"} 0.0',
        'kv_request_seconds_count{kind="write",level="all",outcome="committed"} 1.0',
        'kv_request_seconds_count{kind="write",level="all",outcome="ok"} 1.0',
        'kv_request_seconds_count{kind="write",level="one",outcome="pending"} 1.0',
        'kv_request_seconds_count{kind="read",level="quorum",outcome="absent"} 1.0',
        'kv_request_seconds_count{kind="read",level="quorum",outcome="failed"} 1.0',
        'request_count_total{method="PUT",service="kv",status="504"} 2.0',
        'request_duration_seconds_sum{method="PUT",service="kv",status="504"} 6.5',
        'kv_journal_sync_seconds_bucket{le="0.00025"} 1.0',
    ):
        assert line in text
    assert metrics.exposition("application/openmetrics-text")[0].endswith(b"# EOF\n")


def test_the_parts_of_the_api_are_few() -> None:
    assert {service_of(route.path) for route in ROUTES} == {
        "auth", "batch", "cluster", "compact", "debug", "docs", "kv", "leases", "livez", "metrics", "odds",
        "openapi", "readyz", "receipts", "reports", "sessions", "settings", "snapshot", "txn", "ui", "watch",
    }  # fmt: skip
    assert service_of("other") == "other"


def test_names_follow_the_conventions() -> None:
    for row in ROWS.values():
        assert re.fullmatch(r"(kv|request|process|python)_[a-z0-9_]+", row.name)
        assert (row.kind == "counter") == row.name.endswith("_total"), row.name
        if row.unit in ("seconds", "bytes", "revisions", "changes", "entries"):
            assert re.search(rf"_{row.unit}(_total)?$", row.name), row.name
        assert len(row.labels) <= 6
        assert not {"user", "client", "address", "id"} & set(row.labels), row.name
        assert row.meaning.endswith("."), row.name
    assert len(ROWS) == sum(len(rows) for _, rows in GROUPS)
    assert [name for name, row in ROWS.items() if "key" in row.labels] == ["kv_encryption_files"]  # numbers of keys


def test_the_page_of_metrics_is_that_of_the_table() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == catalogue.page(), "python -m kvstore.telemetry > docs/metrics.md"


def test_slow_requests_are_written_down_some_of_each_second() -> None:
    slow = SlowRequests(0.1)
    with structlog.testing.capture_logs() as logs:
        for number in range(1_000):
            slow.note("slow_request", 0.25, request_id=f"r{number}")
    assert slow.total == 1_000
    assert logs[0] == {"event": "slow_request", "log_level": "warning", "ms": 250.0, "request_id": "r0"}
    assert 10 <= len(logs) <= 20  # a second may have ended meanwhile


def test_the_trace_is_bounded_and_numbered() -> None:
    ms = 1_700_000_000_000
    trace = ProtocolTrace("n1", lambda: ms)
    for number in range(TRACE_EVENTS_MAX + 5):
        trace.note("role", term=number)
    trace.note("leadership_ended", term=9, reason="no_majority")
    assert len(trace) == TRACE_EVENTS_MAX
    first, *_, last = map(json.loads, trace.lines(1, TRACE_EVENTS_MAX).splitlines())
    assert first == {"seq": 7, "time": "2023-11-14T22:13:20.000+00:00", "node": "n1", "event": "role", "term": 6}
    assert (last["seq"], last["reason"]) == (TRACE_EVENTS_MAX + 6, "no_majority")
    assert [json.loads(line)["seq"] for line in trace.lines(100, 2).splitlines()] == [100, 101]
    assert trace.lines(TRACE_EVENTS_MAX + 7, 10) == b""
    assert trace.counts == {"role": TRACE_EVENTS_MAX + 5, "leadership_ended": 1}
    assert trace.reasons == {"no_majority": 1}


@pytest.mark.usefixtures("restored_logging")
def test_logs_are_json_lines_off_a_terminal() -> None:
    out = io.StringIO()
    set_up(stream=out)
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger("kvstore.x").error("failed", key="a", exc_info=True)
    logging.getLogger("asyncio").warning("slow %s", "callback")
    structlog.get_logger("kvstore.x").debug("hidden")
    ours, theirs = (json.loads(line) for line in out.getvalue().splitlines())
    assert (ours["event"], ours["level"], ours["logger"], ours["key"]) == ("failed", "error", "kvstore.x", "a")
    assert "boom" in ours["exception"]
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("slow callback", "warning", "asyncio")


@pytest.mark.usefixtures("restored_logging")
def test_logs_are_for_people_on_a_console() -> None:
    out = io.StringIO()
    set_up(stream=out, format="console", level="debug")
    structlog.get_logger("kvstore.x").debug("started", port=8480)
    assert "started" in out.getvalue()
    assert "port=8480" in out.getvalue()
    assert "\x1b" not in out.getvalue()
