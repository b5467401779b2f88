"""`kv bench`: what it decides by its seed, how it counts, and what it says; without a server."""

import asyncio
import json
import os
from array import array
from collections import Counter
from pathlib import Path

import pytest

from kvcli.bench import document
from kvcli.bench.doors import DOORS, open_door
from kvcli.bench.live import Live
from kvcli.bench.load import Run
from kvcli.bench.plan import Plan
from kvcli.bench.tally import Tally, percentiles_ms
from kvcli.exit_codes import Exit
from kvcli.main import run as kv
from kvcli.output import Mode, write_rows
from kvstore import limits
from kvstore.errors import CannotConnect, ConnectionLost, DeadlineExceeded, NoQuorum

GOLDEN = Path(__file__).parents[1] / "golden" / "cli"
ENDPOINT = ("http://127.0.0.1:8480",)


class TestPlan:
    def test_a_seed_decides_values_keys_and_operations_of_each_client(self) -> None:
        def drawn(seed: int, client: int) -> tuple[object, ...]:
            plan = Plan("mixed", ENDPOINT, reads_percent=50, seed=seed)
            number, operation = plan.key_numbers(client), plan.operations(client)
            return plan.value(), [number() for _ in range(50)], [operation() for _ in range(50)]

        assert drawn(1, 0) == drawn(1, 0)
        assert drawn(1, 0)[1:] != drawn(1, 1)[1:]
        assert all(one != other for one, other in zip(drawn(1, 0), drawn(2, 0), strict=True))

    def test_two_runs_never_share_a_key(self) -> None:
        one, other = Plan("put", ENDPOINT, keys=5), Plan("put", ENDPOINT, keys=5)
        assert len({*one.key_names(), *other.key_names()}) == 10
        assert all(key.startswith(one.stem.encode()) for key in one.key_names())

    @pytest.mark.parametrize("share", [0, 30, 100])
    def test_gets_have_their_share(self, share: int) -> None:
        operation = Plan("batch", ENDPOINT, reads_percent=share).operations(0)
        gets = Counter(operation() for _ in range(10_000))["get"]
        assert gets == pytest.approx(share * 100, abs=0 if share in (0, 100) else 250)

    def test_key_numbers_cover_all_keys_and_no_other(self) -> None:
        number = Plan("put", ENDPOINT, keys=7).key_numbers(3)
        assert {number() for _ in range(500)} == set(range(7))

    def test_what_is_remembered_is_bounded(self) -> None:
        assert Plan("put", ENDPOINT).calls_max == limits.BENCH_CALLS_MAX
        assert Plan("put", ENDPOINT, count=3).calls_max == 3
        assert Plan("watch", ENDPOINT, watches=100).calls_max * 100 <= limits.BENCH_CALLS_MAX


class TestTally:
    def test_percentiles_are_values_that_were_measured(self) -> None:
        told = percentiles_ms(array("d", [number / 1_000 for number in range(999, 0, -1)]))
        assert told == {"p50": 500.0, "p90": 900.0, "p99": 990.0, "p999": 999.0, "worst": 999.0}
        assert percentiles_ms(array("d", [0.002])) == dict.fromkeys(told, 2.0)
        assert percentiles_ms(array("d")) == dict.fromkeys(told)

    def test_the_rate_is_told_for_intervals_that_are_over(self) -> None:
        tally = Tally(["put"])
        for ended in (0.05, 0.06, 0.15, 0.25, 0.32):
            tally.done("put", 0.0, ended)
        tally.seconds = 0.35
        assert tally.rate() == (0.1, [20.0, 10.0, 10.0])

    def test_a_time_without_any_operation_is_in_the_rate(self) -> None:
        tally = Tally(["put"])
        tally.done("put", 0.0, 0.05)
        tally.seconds = 0.5
        assert tally.rate() == (0.1, [10.0, 0.0, 0.0, 0.0, 0.0])

    def test_a_long_time_is_told_in_few_points_that_add_up(self) -> None:
        tally = Tally(["put"])
        for number in range(6_000):
            tally.done("put", 0.0, number / 10 + 0.05, operations=2)
        tally.seconds = limits.BENCH_S_MAX
        interval_s, rates = tally.rate()
        assert (interval_s, len(rates)) == (10.0, 60)
        assert sum(rate * interval_s for rate in rates) == tally.total == 12_000

    def test_errors_are_counted_by_code_and_outcome(self) -> None:
        tally = Tally(["put"])
        for error in (
            NoQuorum("x"),
            NoQuorum("x"),
            NoQuorum("x", read=True),
            DeadlineExceeded("x"),
            DeadlineExceeded("x", outcome="committed"),
            CannotConnect("x"),
            ConnectionLost("x"),
        ):
            tally.failed(error)
        assert tally.errors == {
            ("no_quorum", "not_applied"): 2,
            ("no_quorum", None): 1,
            ("timeout", "unknown"): 1,
            ("timeout", "committed"): 1,
            ("cannot_connect", "not_applied"): 1,
            ("connection_lost", "unknown"): 1,
        }

    def test_only_headline_operations_are_in_rate_and_total(self) -> None:
        tally = Tally(["event", "put"], headline=["event"])
        tally.done("put", 0.0, 0.01)
        for _ in range(3):
            tally.done("event", 0.0, 0.02)
        tally.seconds = 0.1
        assert (tally.total, tally.rate(), list(tally.headline_s())) == (3, (0.1, [30.0]), [0.02] * 3)


def made_up(cpu_s: float = 1.0) -> Run:
    """A mixed run of two seconds."""
    run = Run(Plan("mixed", ENDPOINT, reads_percent=40, seed=7, seconds=2, stem="bench/00000000/"))
    run.nodes, run.leader = 3, "n2"
    for number in range(1, 201):
        run.tally.done("get" if number % 5 < 2 else "put", 0.0, number / 100)
    for error in (NoQuorum("x"), NoQuorum("x"), DeadlineExceeded("x", read=True)):
        run.tally.failed(error)
    run.tally.seconds, run.tally.cpu_s = 2.0, cpu_s
    return run


def golden(name: str, text: str) -> None:
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("KV_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


class TestOutput:
    def test_the_document(self) -> None:
        golden("bench_json", json.dumps(document.document(made_up()), indent=1) + "\n")

    def test_the_page_that_documents_the_document_names_every_member(self) -> None:
        page = (Path(__file__).parents[2] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
        assert [name for name in document.document(made_up()) if f"`{name}`" not in page] == []

    def test_for_people(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        write_rows(["what", "value"], document.rows(document.document(made_up())), Mode.SIMPLE)
        golden("bench", capfdbinary.readouterr().out.decode())

    def test_a_run_without_success_has_nulls_and_shows_its_errors(self) -> None:
        run = Run(Plan("put", ENDPOINT))
        run.tally.failed(NoQuorum("x"))
        run.tally.seconds = 0.0
        told = document.document(run)
        assert (told["operations"], told["operations_per_second"]) == (0, 0.0)
        assert set(told["latency_ms"].values()) == {None}
        assert ["errors: no_quorum", "1, outcome not_applied"] in document.rows(told)

    @pytest.mark.parametrize(("cpu_s", "limit"), [(1.79, False), (1.81, True)])
    def test_it_says_when_this_process_was_the_limit(self, cpu_s: float, limit: bool) -> None:
        told = document.document(made_up(cpu_s))
        assert told["client"]["bottleneck"] is limit
        assert (document.bottleneck(told) is not None) is limit
        assert document.rows(told)[-1][1].endswith("it is the limit") is limit

    def test_news_are_of_what_came_since_the_last_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 100.0
        monkeypatch.setattr("kvcli.bench.live.time.monotonic", lambda: now)
        live, tally = Live(Plan("put", ENDPOINT)), Tally(["put"])
        for _ in range(50):
            tally.done("put", 0.0, 0.002)
        now = 101.0
        assert live.news(tally) == "50/s, p50 2.00 ms, p99 2.00 ms"
        for _ in range(10):
            tally.done("put", 0.0, 0.004)
        tally.failed(NoQuorum("x"))
        now = 103.0
        assert live.news(tally) == "5/s, p50 4.00 ms, p99 4.00 ms, 1 errors"
        now = 104.0
        assert live.news(tally) == "0/s, 1 errors"


class TestCommand:
    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["put", "--clients", "300"], "at most 256 with --door http"),
            (["put", "--clients", "1025", "--door", "batch"], "not a whole number from 1 to 1,024"),
            (["put", "--seconds", "601"], "not a number above 0 and of at most 600"),
            (["put", "--count", "10000001"], "not a whole number from 1 to 10,000,000"),
            (["watch", "--size", "15"], "at least 16"),
            (["watch", "--level", "one"], "not one of 'quorum', 'all'"),
            (["put", "--door", "window"], "not one of"),
            (["put", "--door", "redis", "--redis-endpoints", "127.0.0.1"], "'127.0.0.1' is not HOST:PORT"),
            (["put", "--door", "redis", "--redis-endpoints", ","], "at least one HOST:PORT"),
            (["batch", "--door", "redis", "--batch", "10000", "--size", "1048576"], "in a pipeline"),
            (["batch", "--door", "http"], "not one of"),
        ],
    )
    def test_a_load_without_bounds_is_wrong_usage(
        self, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert kv(["bench", *arguments]) == Exit.USAGE
        assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(("door", "callers"), [("http", 2), ("batch", 2), ("redis", 5)])
def test_a_door_opens_a_caller_for_each_endpoint_that_of_redis_for_each_client(door: str, callers: int) -> None:
    assert {"http", "batch", "redis"} == set(DOORS)
    plan = Plan(
        "put",
        ("http://127.0.0.1:1", "http://127.0.0.1:2"),
        door=door,
        clients=5,
        redis_endpoints=("127.0.0.1:1", "127.0.0.1:2"),
    )

    async def opened() -> int:
        async with open_door(plan) as found:
            return len(found)

    assert asyncio.run(opened()) == callers
