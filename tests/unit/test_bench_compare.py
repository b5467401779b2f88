"""The comparison with other systems: what generators print, and rows, tables and pages. No system needed."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.bench import failover, goals, measure, page, plot, report, table
from tests.bench.compare import _filesystem
from tests.bench.generators import native, redis_benchmark, wrk
from tests.bench.procs import NotAvailable, Usage
from tests.bench.rows import Rows
from tests.bench.systems import CLUSTERS, SYSTEMS
from tests.bench.table import LINES, Figure
from tests.bench.work import KEYS, LOADS, Row, Told, Work

WRK = """Running 3s test @ http://127.0.0.1:40001
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.60ms    1.34ms  1.20s    78.00%
    Req/Sec    11.50k     1.02k   13.00k    68.97%
  Latency Distribution
     50%  534.00us
     75%    6.01ms
     90%    7.11ms
     99%   10.01ms
  34500 requests in 3.00s, 12.34MB read
Requests/sec:  11500.00
Transfer/sec:      4.11MB
"""
FAILING = WRK.replace(
    "Requests/sec",
    "  Socket errors: connect 0, read 3, write 0, timeout 2\n  Non-2xx or 3xx responses: 500\nRequests/sec",
)
REDIS = (
    '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"\n'
    '"SET","31250.00","1.949","0.736","1.807","2.663","3.599","7.231"\n'
)


class TestGenerators:
    def test_wrk(self) -> None:
        assert wrk.parse(WRK, reads=False) == Told(34_500, 3.0, 34_500, 0.534, 10.01, 1_200.0)

    def test_wrk_with_errors(self) -> None:
        told = wrk.parse(FAILING, reads=False)
        assert (told.operations, told.total, told.errors) == (34_000, 34_500, 505)
        assert told.error == "Non-2xx or 3xx responses: 500, Socket errors: connect 0, read 3, write 0, timeout 2"

    def test_answers_too_short_for_their_values_are_errors(self) -> None:
        short = WRK.replace("12.34MB read", "3.20MB read")
        assert wrk.parse(short, reads=True).errors == 34_500
        assert wrk.parse(short, reads=False).errors == wrk.parse(WRK, reads=True).errors == 0

    def test_redis_benchmark(self) -> None:
        assert redis_benchmark.parse(REDIS, 62_500) == Told(62_500, 2.0, 62_500, 1.807, 3.599, 7.231)

    def test_generators_of_our_own(self) -> None:
        told = Told(10, 1.0, 12, 1.0, 2.0, 3.0, 0, None, 4, 0.5)
        assert native.parse(json.dumps(told._asdict())) == told

    @pytest.mark.parametrize(
        "parse",
        [lambda text: wrk.parse(text, reads=True), lambda text: redis_benchmark.parse(text, 1), native.parse],
    )
    @pytest.mark.parametrize("text", ["", "unable to connect", '{"operations": 1}', "[]"])
    def test_anything_else_is_no_figure(self, parse: Any, text: str) -> None:
        with pytest.raises(ValueError):  # noqa: PT011
            parse(text)

    def test_every_key_is_asked_for_before_one_comes_again(self) -> None:
        assert len({turn * 7919 % KEYS for turn in range(KEYS)}) == KEYS
        for name in ("wrk.lua", "loop.go", "zookeeper.c"):
            assert "7919" in (Path(wrk.__file__).parent / name).read_text()


def row(turn: int, system: str, work: str, **more: Any) -> Row:
    figures: dict[str, Any] = {"p50_ms": 1.0, "p99_ms": 2.0, "server_cpu_us": 50.0, "generator_cpu_us": 9.0}
    return {"round": turn, "system": system, "work": work, **figures, "errors": 0, **more}  # type: ignore[typeddict-item]


def rows() -> list[Row]:
    """Three rounds; ours is 2.0, 2.2 and 3.0 times as fast, though the machine was not the same in all."""
    found = []
    for turn, (ours, theirs) in enumerate([(2_000, 1_000), (1_100, 500), (9_000, 3_000)], 1):
        found.append(row(turn, "kvstore-http", "put-64", per_second=ours, generator_is_the_limit=turn < 3))
        found.append(row(turn, "etcd-http", "put-64", per_second=theirs, others_cpu_share=0.1, stolen_cpu_share=0.1))
    return found


PUTS = next(line for line in LINES if line.title == "PUT/s, 64 in flight")


class TestTables:
    def test_a_ratio_is_taken_within_each_round(self) -> None:
        assert table.ratio(rows(), "kvstore-http", "etcd-http", PUTS) == Figure(2.2, 2.0, 3.0, 3)
        assert table.ratio(rows()[:3], "kvstore-http", "etcd-http", PUTS) == Figure(2.0, 2.0, 2.0, 1)
        assert table.ratio(rows(), "kvstore-http", "nats", PUTS) is None

    def test_what_failed_or_had_errors_is_told_and_is_no_figure(self) -> None:
        bad: Row = {"round": 5, "system": "etcd-http", "work": "put-64", "failed": "etcd ended with 1"}
        with_errors = row(4, "etcd-http", "put-64", per_second=1.0, errors=3, error="Non-2xx")
        told = [*rows(), with_errors, bad]
        assert table.by_round(told, "etcd-http", PUTS) == {1: 1_000, 2: 500, 3: 3_000}
        assert table.problems(told) == [
            "round 4, etcd-http, put-64: 3 errors: Non-2xx",
            "round 5, etcd-http, put-64: etcd ended with 1",
        ]

    def test_medians_with_ranges_and_a_mark_where_the_generator_was_the_limit(self) -> None:
        lines = table.figures(rows()).splitlines()
        assert lines[0] == "|  | kvstore HTTP | etcd HTTP gateway |"
        assert lines[2] == "| PUT/s, 64 in flight | 2,000 (1,100 to 9,000) † | 1,000 (500 to 3,000) |"

    def test_ratios_say_what_is_better(self) -> None:
        text = table.ratios(rows(), "kvstore-http")
        assert "| PUT/s, 64 in flight (more is better) | 2.20 (2.00 to 3.00) |" in text
        assert "| CPU of the servers per PUT at 64, us (less is better) | 1.00 |" in text

    def test_a_goal_is_met_or_missed_by_some_share(self) -> None:
        judged = goals.judged(rows()).splitlines()
        assert (
            judged[2] == "| kvstore-http / etcd-http: PUT/s, 64 in flight | at least 2.2 | 2.20 (2.00 to 3.00) | met |"
        )
        slower = [row(1, "kvstore-http", "put-64", per_second=165.0), row(1, "etcd-http", "put-64", per_second=100.0)]
        assert goals.judged(slower).splitlines()[2].endswith("| 1.65 | missed by 25% |")
        assert "not measured" in goals.judged(slower)

    def test_without_grpc_the_gateway_is_compared_with(self) -> None:
        assert {goal.theirs for goal in goals.goals(rows())} == {"etcd-http", "zookeeper"}
        grpc = [*rows(), row(1, "etcd-grpc", "put-64", per_second=1.0)]
        assert "etcd-grpc" in {goal.theirs for goal in goals.goals(grpc)}

    def test_every_goal_is_about_a_line_and_systems_that_there_are(self) -> None:
        for goal in goals.goals(rows()):
            assert goal.title in {line.title for line in LINES}
            assert {goal.ours, goal.theirs} <= set(SYSTEMS)

    def test_the_report_names_versions_the_command_and_what_was_skipped(self) -> None:
        machine = {"cores": 2, "cpu": "x", "memory_gib": 4, "kernel": "6", "python": "3.11", "filesystem": "ext4"}
        told = {"version": "kvstore 0.1.0", "notes": "defaults", "generator": "wrk", "works": []}
        run = {
            "command": "python -m tests.bench.compare --out x",
            "seconds": 3,
            "machine": machine,
            "systems": {"kvstore-http": told, "etcd-http": told | {"version": "etcd 3.4.23"}},
            "skipped": {"nats": "NATS is not installed"},
        }
        text = report.text(rows(), run, picture="a.svg", folder="b")
        for part in (
            "\npython -m tests.bench.compare --out x\n```",
            "etcd 3.4.23",
            "NATS KV: skipped, NATS is not installed.",
        ):
            assert part in text
        assert "Rounds: 3, 3 s for each load" in text
        assert "took 20% of one core" in text

    def test_the_picture_is_the_same_for_the_same_rows(self, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        for name in ("a.svg", "b.svg"):
            assert plot.draw(tmp_path / name, rows())
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
        assert not plot.draw(tmp_path / "c.svg", [])


class TestRows:
    def test_a_run_goes_on_where_it_was_cut(self, tmp_path: Path) -> None:
        first = Rows(tmp_path)
        first.add(row(1, "etcd-http", "put-64"))
        first.add({"round": 1, "system": "nats", "work": "put-64", "failed": "no leader"})
        with (tmp_path / "rows.jsonl").open("a") as file:
            file.write('{"round": 1, "system": "red')
        again = Rows(tmp_path)
        assert again.rows == first.rows
        assert again.has(1, "etcd-http", "put-64")
        assert not again.has(2, "etcd-http", "put-64")
        assert not again.has(1, "nats", "put-64")
        again.add(row(1, "nats", "put-64"))
        assert [each["system"] for each in Rows(tmp_path).rows] == ["etcd-http", "nats", "nats"]

    def test_starts_are_counted(self, tmp_path: Path) -> None:
        kept = Rows(tmp_path)
        assert (kept.starts(), kept.run()) == (0, None)
        kept.add({"round": 2, "system": "nats", "work": "rest", "rss_mib": [1.0]})
        kept.describe({"seconds": 3})
        assert (Rows(tmp_path).starts(), Rows(tmp_path).run()) == (2, {"seconds": 3})


class TestMeasuring:
    USAGE = Usage(4.0, 2.0, [0.5, 1.0, 0.5], 3.8, 0.1, 0.0, 0.9)

    def test_cpu_is_told_for_each_operation(self) -> None:
        told = measure.figures(Told(9_000, 3.0, 10_000, 1.0, 2.0, 3.0), self.USAGE, leader=1)
        assert (told["per_second"], told["server_cpu_us"], told["leader_cpu_us"]) == (3_000.0, 200.0, 100.0)
        assert told["generator_cpu_us"] == 380.0
        assert told["generator_is_the_limit"]

    def test_a_generator_of_many_threads_is_the_limit_only_if_it_uses_all_cores(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.bench.measure.CORES", 2)
        many = Told(10, 1.0, 10, 1.0, 1.0, 1.0, threads=8, cpu_share=1.2)
        told = measure.figures(many, self.USAGE, leader=0)
        assert (told["generator_cpu_share"], told["generator_is_the_limit"]) == (0.6, False)
        assert measure.figures(many._replace(cpu_share=1.9), self.USAGE, leader=0)["generator_is_the_limit"]

    def test_what_cannot_be_done_is_a_row_that_says_why(self) -> None:
        class Broken:
            def ready(self, *_: object) -> None:
                raise NotAvailable("no such thing")

            def writer(self) -> list[str]:
                raise NotAvailable("one server")

        class Led:
            def leader(self) -> None:
                return None

        for work, why in (("put-64", "no such thing"), ("failover", "one server")):
            told = measure.cell(1, "x", work, Broken(), Led(), 1)  # type: ignore[arg-type]
            assert told["failed"] == why

    def test_the_gap_is_the_longest_wait_that_ended_after_the_kill(self) -> None:
        steady = [number / 100 for number in range(100)]
        gone = [*steady, 1.5, 1.51]
        assert failover.longest(gone, since=0.995) == pytest.approx((0.51, 1.5))
        # A longer one before does not count.
        assert failover.longest([0.0, 3.0, 3.01, 3.05], since=3.005) == pytest.approx((0.04, 3.05))
        assert failover.longest(steady, since=5.0) == (0.0, 0.0)

    @pytest.mark.parametrize(
        ("last", "now", "ended"),
        [
            (1.6, 1.7, False),  # not yet for long
            (2.6, 2.7, True),  # flows again
            (1.6, 2.9, False),  # stopped again
        ],
    )
    def test_it_is_over_once_writes_flow_again(self, last: float, now: float, ended: bool) -> None:
        assert failover.over([0.99, 1.5, last], (0.51, 1.5), 1.0, now) is ended

    def test_a_kill_that_nobody_noticed_is_over_after_a_while(self) -> None:
        assert not failover.over([2.0], (0.01, 1.5), 1.0, 2.1)
        assert failover.over([6.1], (0.01, 1.5), 1.0, 6.2)


def test_a_page_keeps_what_is_around_its_part(tmp_path: Path) -> None:
    path = tmp_path / "p.md"
    path.write_text("# Head\n\n<!-- compare: begin -->\nold\n<!-- compare: end -->\n\ntail\n")
    page.put_into(path, "compare", "new\n")
    page.put_into(path, "scale", "more")
    page.put_into(path, "compare", "newer")
    assert path.read_text() == (
        "# Head\n\n<!-- compare: begin -->\nnewer\n<!-- compare: end -->\n\ntail\n\n"
        "<!-- scale: begin -->\nmore\n<!-- scale: end -->\n"
    )
    assert page.link(tmp_path / "docs" / "p.md", tmp_path / "docs" / "runs" / "a.svg") == "runs/a.svg"


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_is_a_file_with_a_bench_on_a_cluster(name: str) -> None:
    bench = importlib.import_module(SYSTEMS[name].module).Bench
    assert bench.works <= {*LOADS, "failover"}
    assert bench.generator
    module, _, cluster = CLUSTERS[SYSTEMS[name].cluster].partition(":")
    assert hasattr(importlib.import_module(module), cluster)


def test_load_is_what_the_names_say() -> None:
    assert LOADS["put-256"] == Work("put-256", "put", 256)


def test_the_file_system_of_a_path_is_found() -> None:
    assert _filesystem(Path("/proc/self")) == "proc"
