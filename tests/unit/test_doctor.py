"""`kv doctor`: each check finds what it is for, in what nodes have told, and nothing where nothing is wrong."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from kvcli.doctor.report import Evidence, Report
from kvcli.doctor.table import CHECKS, examine
from kvcli.exit_codes import Exit
from kvcli.metrics_text import Samples, read
from kvcli.scraping import Told
from kvstore import errors
from kvstore.model.results import ClusterView, MemberView

GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "cli"
NOW_S = 1_800_000_000.0
DAY_S = 86_400.0
GIB = 1 << 30

HEALTHY: dict[str, float] = {
    "kv_disk_free_bytes": 50 * GIB,
    "kv_disk_size_bytes": 100 * GIB,
    "kv_leases": 3,
    "kv_sessions_open": 4,
    "kv_answers_kept": 5,
    "kv_watches": 6,
    "kv_journal_since_snapshot_bytes": 1_000,
    "kv_snapshot_log_limit_bytes": 32 << 20,
    "process_open_fds": 30,
    "process_max_fds": 20_000,
    "kv_tls_certificate_expires_seconds": NOW_S + 200 * DAY_S,
}


def member(
    name: str, role: str = "follower", reachable: bool = True, digest: tuple[int, int] | None = None
) -> MemberView:
    found = None if digest is None else {"index": digest[0], "value": digest[1]}
    return MemberView(name, role, True, reachable, f"http://{name}:1", f"{name}:2", 9, 9, 0, found)


def view(node: str, leader: str | None, members: list[MemberView], term: int = 3, **changes: object) -> ClusterView:
    return ClusterView("c1", node, leader, term, 9, 8, members, [])._replace(**changes)  # type: ignore[arg-type]


def metrics(
    *,
    version: str = "1.0",
    features: int = 3,
    sync_s: float = 0.002,
    clocks: Mapping[str, float] | None = None,
    **changes: float | None,
) -> Samples:
    """What a node tells that is well, but for `changes`; None: it does not tell that."""
    values = {**HEALTHY, **changes}
    lines = [f"# TYPE {name} gauge\n{name} {value}" for name, value in values.items() if value is not None]
    lines.append(f'# TYPE kv_node_info gauge\nkv_node_info{{version="{version}",features="{features}"}} 1')
    lines.append("# TYPE kv_clock_offset_seconds gauge")
    lines += [f'kv_clock_offset_seconds{{member="{name}"}} {offset}' for name, offset in (clocks or {}).items()]
    edges = (0.001, 0.005, 0.05, 0.25, 1.0)
    counts = [f'kv_journal_sync_seconds_bucket{{le="{edge}"}} {100 if edge >= sync_s else 0}' for edge in edges]
    lines += ["# TYPE kv_journal_sync_seconds histogram", *counts, 'kv_journal_sync_seconds_bucket{le="+Inf"} 100']
    return read("\n".join(lines) + "\n")


def told(of: ClusterView, seen: Samples | Exception | None = None) -> Told:
    well = metrics(clocks={"n1": 0.0, "n2": 0.001, "n3": -0.002} if of.node == of.leader else None)
    return Told(f"http://{of.node}:1", of.node, of, well if seen is None else seen, 1.0)


THREE = [member("n1", "leader", digest=(9, 5)), member("n2", digest=(9, 5)), member("n3", digest=(9, 5))]
NAMES = ("n1", "n2", "n3")


def cluster(of: Mapping[str, Samples] | None = None, members: list[MemberView] = THREE) -> list[Told]:
    """Three nodes that are well; `of`: what some of them tell instead."""
    return [told(view(name, "n1", members), (of or {}).get(name)) for name in NAMES]


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def look(*seen: Told, **settings: int) -> Report:
    return examine(Evidence(seen, settings, 1, NOW_S))


def silent(endpoint: str = "http://e:1", *, given: bool = True) -> Told:
    failed = errors.CannotConnect(f"{endpoint}: connection refused")
    return Told(endpoint, None, failed, failed, given=given)


def test_a_healthy_cluster_is_fine() -> None:
    report = look(*cluster())
    assert (report.exit_code, codes(report)) == (Exit.OK, [])
    assert {result.verdict for result in report.results} == {"ok"}
    assert [result.name for result in report.results] == list(CHECKS)


def test_nobody_answers() -> None:
    report = look(silent())
    assert (report.exit_code, codes(report)) == (Exit.CANNOT_CONNECT, ["endpoint_unreachable"])
    assert [result.verdict for result in report.results].count("skipped") == len(CHECKS) - 1


def test_what_to_do_about_an_endpoint_is_what_was_found_out_about_it() -> None:
    known = {"http://e:1": "kv cluster up --dir ./demo"}
    report = examine(Evidence([silent(), silent("http://f:1")], {}, 1, NOW_S, known))
    assert [finding.todo for finding in report.findings] == [
        "kv cluster up --dir ./demo",
        "start the node there (kv serve), or name others with --endpoints",
    ]


class TestCluster:
    def test_one_node_down(self) -> None:
        members = [member("n1", "leader"), member("n2"), member("n3", reachable=False)]
        report = look(*[each for each in cluster(members=members) if each.name != "n3"], silent())
        assert (report.exit_code, codes(report)) == (
            Exit.ABSENT,
            ["endpoint_unreachable", "member_unreachable", "no_margin"],
        )

    def test_a_member_that_nobody_asked_for_and_that_cannot_be_reached_from_here_is_advice(self) -> None:
        report = look(cluster()[0], silent(given=False))
        assert (report.exit_code, codes(report)) == (Exit.OK, ["nodes_unseen"])
        assert "n2, n3" in report.findings[0].detail

    def test_no_quorum(self) -> None:
        members = [member("n1"), member("n2", reachable=False), member("n3", reachable=False)]
        report = look(told(view("n1", None, members)))
        assert report.exit_code == Exit.REFUSED
        assert {"no_leader", "no_quorum"} <= set(codes(report))

    def test_an_isolated_node_does_not_speak_for_the_majority(self) -> None:
        alone = [member("n1", reachable=False), member("n2", reachable=False), member("n3", "candidate")]
        report = look(*cluster()[:2], told(view("n3", None, alone, term=7)))
        assert (report.exit_code, codes(report)) == (Exit.ABSENT, ["leader_not_agreed"])

    def test_two_leaders_in_one_term(self) -> None:
        report = look(*cluster()[::2], told(view("n2", "n2", THREE)))
        assert (report.exit_code, codes(report)) == (Exit.INTERNAL, ["two_leaders"])

    def test_even_size_is_advice(self) -> None:
        four = [*THREE, member("n4")]
        report = look(*[told(view(name, "n1", four)) for name in (*NAMES, "n4")])
        assert (report.exit_code, codes(report)) == (Exit.OK, ["even_size"])

    def test_a_single_node_is_advice(self) -> None:
        report = look(told(view("n1", "n1", [member("n1", "leader")])))
        assert (report.exit_code, codes(report)) == (Exit.OK, ["single_node"])

    def test_digests_are_compared_at_equal_indices_only(self) -> None:
        lagging = [member("n1", "leader", digest=(20, 1)), member("n2", digest=(10, 2)), member("n3")]
        differing = [member("n1", "leader", digest=(20, 1)), member("n2", digest=(20, 2)), member("n3")]
        assert codes(look(*cluster(members=lagging))) == []
        report = look(*cluster(members=differing))
        assert (report.exit_code, codes(report)) == (Exit.INTERNAL, ["divergence"])

    def test_different_clusters(self) -> None:
        report = look(*cluster()[::2], told(view("n2", "n1", THREE, cluster_id="c2")))
        assert (report.exit_code, codes(report)) == (Exit.ABSENT, ["different_clusters"])

    def test_writes_that_wait_to_be_handed_over_are_advice(self) -> None:
        members = [member("n1", "leader"), member("n2")._replace(intents_pending=1_200), member("n3")]
        report = look(*cluster(members=members))
        assert (report.exit_code, codes(report)) == (Exit.OK, ["writes_pending"])
        gone = [member("n1", "leader"), member("n2", reachable=False)._replace(intents_pending=9), member("n3")]
        assert "writes_pending" not in codes(look(*cluster(members=gone)))

    @pytest.mark.parametrize(("code", "expected"), [("divergence", Exit.INTERNAL), ("clock_drift", Exit.ABSENT)])
    def test_an_alarm_is_a_problem(self, code: str, expected: Exit) -> None:
        alarms = [{"code": code, "node": "n2", "detail": "so far"}]
        report = look(*[told(view(name, "n1", THREE, alarms=alarms)) for name in NAMES])
        assert (report.exit_code, codes(report)) == (expected, ["alarm"])
        assert report.findings[0].todo

    def test_a_member_that_lags(self) -> None:
        members = [member("n1", "leader")._replace(applied_index=50_000), member("n2"), member("n3")]
        behind = [members[0], members[1]._replace(applied_index=10), members[2]._replace(applied_index=49_999)]
        report = look(*[told(view(name, "n1", behind, commit_index=50_000)) for name in NAMES])
        assert (report.exit_code, codes(report)) == (Exit.OK, ["lag"])
        assert "n2 is 49,990 entries behind" in report.findings[0].detail


class TestNodes:
    @pytest.mark.parametrize(
        ("changes", "code", "expected"),
        [
            ({"kv_disk_free_bytes": 100.0 * (1 << 20)}, "disk_full", Exit.ABSENT),
            ({"kv_disk_free_bytes": 5.0 * GIB}, "disk_room", Exit.OK),
            ({"sync_s": 0.2}, "disk_slow", Exit.OK),
            ({"clocks": {"n1": 0.0, "n2": 0.7, "n3": 0.0}}, "clock_off", Exit.OK),
            ({"version": "1.1"}, "versions_differ", Exit.OK),
            ({"features": 2}, "features_held_back", Exit.OK),
            ({"kv_tls_certificate_expires_seconds": NOW_S - 1}, "certificate_expired", Exit.ABSENT),
            ({"kv_tls_certificate_expires_seconds": NOW_S + 3 * DAY_S}, "certificate_expires", Exit.OK),
            ({"process_open_fds": 19_000.0}, "files_open", Exit.ABSENT),
            ({"process_max_fds": 256.0}, "files_few", Exit.OK),
            ({"kv_leases": 99_000.0}, "growth", Exit.OK),
            ({"kv_sessions_open": 9_900.0}, "growth", Exit.OK),
            ({"kv_answers_kept": 199_000.0}, "growth", Exit.OK),
            ({"kv_watches": 20_000.0}, "growth", Exit.OK),
            ({"kv_journal_since_snapshot_bytes": 100.0 * (32 << 20)}, "log_uncovered", Exit.ABSENT),
        ],
    )
    def test_what_one_node_tells(self, changes: dict[str, Any], code: str, expected: Exit) -> None:
        report = look(*cluster({"n2": metrics(**changes)}))
        assert (report.exit_code, codes(report)) == (expected, [code])
        (found,) = report.findings
        assert found.todo
        assert "n2" in found.detail or code in ("growth", "versions_differ")

    def test_bounds_are_the_replicated_settings(self) -> None:
        busy = cluster({"n1": metrics(kv_leases=4_900.0)})
        assert codes(look(*busy)) == []
        assert codes(look(*busy, leases_max=5_000)) == ["growth"]

    def test_metrics_that_cannot_be_read_are_advice(self) -> None:
        private = errors.Unauthenticated("a token is needed", read=True)
        report = look(*cluster()[:2], told(view("n3", "n1", THREE), private))
        assert (report.exit_code, codes(report)) == (Exit.OK, ["metrics_unreadable"])
        assert "token" in report.findings[0].todo

    def test_what_an_older_node_does_not_tell_is_skipped(self) -> None:
        old = read("# TYPE kv_raft_term gauge\nkv_raft_term 3\n")
        report = look(*cluster(dict.fromkeys(NAMES, old)))
        assert (report.exit_code, codes(report)) == (Exit.OK, [])
        skipped = {result.name for result in report.results if result.verdict == "skipped"}
        assert skipped == {"disk", "sync", "clocks", "versions", "features", "certificates", "files", "growth"}


def test_the_document() -> None:
    members = [*THREE, member("n4")._replace(intents_pending=3)]
    alarms = [
        {"code": "clock_drift", "node": "n2", "detail": "the clock of n2 is +2500 ms from the median"},
        {"code": "divergence", "node": "n3", "detail": "n1 and n3 hold different content at log index 1024"},
    ]
    seen = [told(view(name, "n1", members, alarms=alarms)) for name in (*NAMES, "n4")]
    text = json.dumps(look(*seen).to_json(), indent=1) + "\n"
    path = GOLDEN / "doctor_json.txt"
    if os.environ.get("KV_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
