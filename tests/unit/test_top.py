"""`kv top`: what two rounds of metrics say about the time between them, and how that is drawn."""

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from kvcli.metrics_text import Buckets, Samples, read
from kvcli.scraping import Told
from kvcli.top.frame import Frame, frame
from kvcli.top.picture import picture
from kvstore import errors
from kvstore.model.results import ClusterView, MemberView

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "cli"


def metrics(gets: int, puts: int, failed: int = 0, *, others: int = 0) -> Samples:
    """Of a node that has answered so many; a get takes 1 ms, a put 10 ms."""
    lines = [
        "# TYPE kv_http_requests counter",
        f'kv_http_requests_total{{method="GET",route="/v1/kv/{{key}}",status="200"}} {gets}',
        f'kv_http_requests_total{{method="PUT",route="/v1/kv/{{key}}",status="200"}} {puts}',
        f'kv_http_requests_total{{method="PUT",route="/v1/kv/{{key}}",status="503"}} {failed}',
        f'kv_http_requests_total{{method="GET",route="/metrics",status="200"}} {others}',
        "# TYPE kv_http_request_seconds histogram",
    ]
    for method, level, count, edge in (("GET", "one", gets, 0.001), ("PUT", "quorum", puts + failed, 0.01)):
        labels = f'method="{method}",route="/v1/kv/{{key}}",level="{level}"'
        lines += [
            f'kv_http_request_seconds_bucket{{{labels},le="{bound}"}} {count if float(bound) >= edge else 0}'
            for bound in ("0.0005", "0.001", "0.005", "0.01", "+Inf")
        ]
        lines.append(f"kv_http_request_seconds_count{{{labels}}} {count}")
    lines += [
        "# TYPE kv_journal_sync_seconds histogram",
        f'kv_journal_sync_seconds_bucket{{le="0.001"}} {puts}',
        f'kv_journal_sync_seconds_bucket{{le="+Inf"}} {puts}',
        "# TYPE kv_store_keys gauge\nkv_store_keys 1234",
        "# TYPE kv_watches gauge\nkv_watches 3",
        "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 77000000",
    ]
    return read("\n".join(lines) + "\n")


def view(node: str, up: str = "n1 n2") -> ClusterView:
    members = [
        MemberView(name, "leader" if name == "n1" else "follower", True, name in up.split(), f"http://{name}:1", "", 9,
                   applied if name in up.split() else None, 2, None)
        for name, applied in (("n1", 100), ("n2", 90), ("n3", 0))
    ]  # fmt: skip
    return ClusterView("c", node, "n1", 7, 100, 99, members, [{"code": "clock_drift", "node": "n2", "detail": "off"}])


def told(node: str, at: float, samples: Samples | Exception) -> Told:
    return Told(f"http://{node}:1", node, view(node), samples, at)


@pytest.fixture
def shown() -> Frame:
    before = [told("n1", 10.0, metrics(100, 50)), told("n2", 10.0, metrics(0, 0))]
    now = [told("n1", 12.0, metrics(300, 150, 4, others=50)), told("n2", 12.0, metrics(20, 0))]
    refused = errors.CannotConnect("refused")
    return frame([*now, Told("http://n3:1", None, refused, refused)], before)


def test_rates_are_those_between_the_rounds(shown: Frame) -> None:
    assert shown.seconds == 2.0
    by_kind = {(load.kind, load.level): load for load in shown.loads}
    assert by_kind["read", "one"].hz == 110.0
    assert by_kind["write", "quorum"].hz == 52.0
    assert shown.statuses == {"200": 160.0, "503": 2.0}
    assert [node.requests_hz for node in shown.nodes] == [152.0, 10.0, None]
    assert [node.errors_hz for node in shown.nodes] == [2.0, 0.0, None]


def test_what_asks_about_the_nodes_is_no_load(shown: Frame) -> None:
    assert sum(load.hz for load in shown.loads) == pytest.approx(162.0)


def test_latencies_are_those_of_the_requests_between(shown: Frame) -> None:
    by_kind = {load.kind: load for load in shown.loads}
    p50, p99 = by_kind["read"].p50_s, by_kind["read"].p99_s
    assert p50 is not None
    assert p99 is not None
    assert 0.0005 < p50 < p99 <= 0.001
    assert by_kind["write"].p99_s == pytest.approx(0.01, rel=0.01)
    assert shown.nodes[0].sync_p99_s == pytest.approx(0.00099)


def test_outcomes_are_told_where_the_nodes_tell_them() -> None:
    def told_outcomes(ok: int, refused: int) -> Samples:
        lines = ["# TYPE kv_request_seconds histogram"]
        for outcome, count in (("ok", ok), ("not_applied", refused)):
            labels = f'kind="write",level="all",outcome="{outcome}"'
            lines += [f'kv_request_seconds_bucket{{{labels},le="{bound}"}} {count}' for bound in ("0.01", "+Inf")]
            lines.append(f"kv_request_seconds_count{{{labels}}} {count}")
        lines += ["# TYPE kv_http_request_seconds histogram"]
        labels = 'method="PUT",route="/v1/kv/{key}",level="all"'
        lines += [f'kv_http_request_seconds_bucket{{{labels},le="+Inf"}} {ok + refused}']
        lines += [f"kv_http_request_seconds_count{{{labels}}} {ok + refused}"]
        return read("\n".join(lines) + "\n")

    found = frame([told("n1", 12.0, told_outcomes(30, 4))], [told("n1", 10.0, told_outcomes(10, 0))])
    assert [(load.kind, load.level, load.outcome, load.hz) for load in found.loads] == [
        ("write", "all", "ok", 10.0),
        ("write", "all", "not_applied", 2.0),
    ]


def test_lag_and_what_is_down(shown: Frame) -> None:
    assert [(node.name, node.reachable, node.lag) for node in shown.nodes] == [
        ("n1", True, 0),
        ("n2", True, 10),
        ("n3", False, None),
    ]
    assert shown.silent == ["http://n3:1"]


def test_a_first_frame_has_no_rates() -> None:
    found = frame([told("n1", 12.0, metrics(300, 150))], [])
    assert (found.seconds, list(found.loads), found.nodes[0].requests_hz) == (0.0, [], None)


def test_a_node_that_was_started_again_counts_from_nothing() -> None:
    found = frame([told("n1", 12.0, metrics(10, 0))], [told("n1", 10.0, metrics(1_000, 50))])
    assert found.nodes[0].requests_hz == 5.0
    assert all(load.hz >= 0 for load in found.loads)


def test_the_picture_fits_eighty_columns_and_has_no_colour_without_a_terminal(shown: Frame) -> None:
    out = io.StringIO()
    Console(file=out, width=80, no_color=True, highlight=False).print(picture(shown))
    text = "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())
    assert "\x1b" not in text
    path = GOLDEN / "top.txt"
    if os.environ.get("KV_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


class TestBuckets:
    def test_quantiles(self) -> None:
        buckets = Buckets(((1.0, 50.0), (2.0, 90.0), (float("inf"), 100.0)))
        assert buckets.quantile(0.25) == 0.5
        assert buckets.quantile(0.7) == 1.5
        assert buckets.quantile(0.99) == 2.0  # the highest edge that there is
        assert Buckets(()).quantile(0.5) is None
        assert Buckets(((1.0, 0.0),)).quantile(0.5) is None

    def test_together(self) -> None:
        both = Buckets(((1.0, 1.0), (2.0, 3.0))).plus(Buckets(((1.0, 4.0), (2.0, 4.0))))
        assert both.counts == ((1.0, 5.0), (2.0, 7.0))

    def test_too_many_samples_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("kvstore.limits.METRICS_SAMPLES_MAX", 2)
        with pytest.raises(ValueError, match="more than 2 samples"):
            read('# TYPE a gauge\na{x="1"} 1\na{x="2"} 1\na{x="3"} 1\n')
