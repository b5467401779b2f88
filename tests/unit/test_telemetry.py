"""Metrics live in a registry of their own; logs are one JSON object a line off a terminal."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from kvstore.telemetry.logging import set_up
from kvstore.telemetry.metrics import Metrics, RedisMeter


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
    metrics.watch("kv_raft_term", "Current term.", lambda: term)
    metrics.watch("kv_raft_match_index", "Match index.", lambda: {"n1": 7, "n2": 5}, label="peer")
    metrics.watch("kv_raft_elections", "Elections begun.", lambda: 2, kind="counter")
    assert "kv_raft_term 3.0" in metrics.exposition("")[0].decode()
    term = 4.0
    text = metrics.exposition("")[0].decode()
    assert "kv_raft_term 4.0" in text
    assert 'kv_raft_match_index{peer="n2"} 5.0' in text
    assert "kv_raft_elections_total 2.0" in text
    with pytest.raises(ValueError, match="kv_raft_term"):
        metrics.watch("kv_raft_term", "Again.", lambda: 0)


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

    metrics.watch("kv_raft_broken", "Cannot be read.", broken)
    metrics.watch("kv_raft_term", "Current term.", lambda: 1)
    text = metrics.exposition("")[0].decode()
    assert "kv_raft_term 1.0" in text
    assert "kv_raft_broken" not in text


def test_the_names_of_the_metrics() -> None:
    metrics = Metrics()
    metrics.http_meter("PUT", "/v1/kv/{key}").done(200, "quorum", 0.002)
    metrics.journal_sync_seconds.observe(0.0002)
    text = metrics.exposition("")[0].decode()
    assert 'kv_http_request_seconds_bucket{le="0.0025",level="quorum",method="PUT",route="/v1/kv/{key}"} 1.0' in text
    assert 'kv_journal_sync_seconds_bucket{le="0.00025"} 1.0' in text
    assert metrics.exposition("application/openmetrics-text")[0].endswith(b"# EOF\n")


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
