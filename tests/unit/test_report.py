"""The report of a run: what is on the page, in which order, and that nothing recorded can break out of it."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kvjepsen import report
from kvjepsen.formats import read_history
from kvjepsen.records import FINAL, Observation, Recorder
from kvjepsen.report.latency import Point, _thin
from kvjepsen.report.markup import Html, printable, tag
from kvjepsen.report.results import BadResults, Found
from kvjepsen.report.run import read_run
from kvjepsen.report.tracks import _states
from kvjepsen.report.window import Stretched, window
from kvstore import limits
from tests.support.chaos_runs import FAULTS, START, write_run
from tests.support.commands import kv

VOID = {"meta", "br"}
HOSTILE = '</script></style></svg><img src="https://evil.example/x" onerror=alert(1)>"\'&\x00\x1b[31m\u202e'


class Page(HTMLParser):
    """What a browser would find: elements, attributes, and the text outside of script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.pieces: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(name)
        self.attributes += [(name, key, value) for key, value in attributes]
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, text: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.pieces.append(text)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.pieces).split())


def made(directory: Path, kind: str = "passing") -> tuple[str, Page]:
    write_run(directory, kind)
    text = report.write(directory).read_text(encoding="utf-8")
    return text, Page(text)


def change(directory: Path, **fields: Any) -> None:
    path = directory / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | fields), encoding="utf-8")


@pytest.fixture(scope="module")
def stale(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("stale"), "stale")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("passing", "Passed: 4 checks looked, and every promise held"),
        ("stale", "Failed: 1 promise was broken"),
        ("vacuous", "Vacuous: too little happened for this run to mean anything"),
    ],
)
def test_the_verdict_comes_first(tmp_path: Path, kind: str, says: str) -> None:
    text, page = made(tmp_path, kind)
    first = re.sub(r"<[^>]+>", " ", text[text.index("<body>") :]).split(maxsplit=1)
    assert first[0] in "✓✗∅"
    assert first[1].lstrip().startswith(says)
    titles = re.findall(r"<h2>([^<]+)", text)
    broke = ["What broke"] if kind == "stale" else []
    assert titles[:-2] == [*broke, "What was promised", "What was done to the cluster", "What was observed"]
    assert f"--seed {7}" in page.text


def test_every_fault_and_check_and_what_was_skipped_is_named(tmp_path: Path) -> None:
    _, page = made(tmp_path)
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    for check in results["checks"]:
        assert check["promise"] in page.text
        assert check["check"] in page.text
    for fault in FAULTS:
        assert fault.title in page.text
        assert all(effect in page.text for effect in fault.effects)
    assert "loss nftables is not installed" in page.text
    assert results["command"] in page.text


def test_a_fault_without_an_effect_is_called_that(tmp_path: Path) -> None:
    _, page = made(tmp_path, "vacuous")
    assert page.text.count("19.0 s nothing was seen of it") == 1
    assert "0 operations succeeded while faults were active" in page.text


def test_the_operations_that_show_it_are_in_picture_and_table(stale: Path) -> None:
    results = json.loads((stale / "results.json").read_text(encoding="utf-8"))
    (found,) = results["checks"][0]["findings"]
    by_line = {op.i: op for op in read_history(stale / "history.jsonl").operations}
    text = report.write(stale).read_text(encoding="utf-8")
    finding = text[text.index('id="finding-1"') : text.index("What was promised")]
    for i in found["ops"]:
        op = by_line[i]
        assert f"<td>{i}</td><td>{op.client}</td><td>{op.node}</td>" in finding
        assert re.search(rf'class="op named"><title>operation {i}: {op.f}', finding)
    assert finding.count('class="op named"') == len(found["ops"])
    assert finding.count('class="op around"') > 0
    assert f"key {found['key']}" in finding


@pytest.mark.parametrize("kind", ["passing", "stale"])
def test_it_needs_nothing_from_outside(tmp_path: Path, kind: str) -> None:
    text, page = made(tmp_path, kind)
    assert not re.search(r"https?://|url\(|@import", text)
    assert {key for _, key, _ in page.attributes} & {"src", "style", "onclick", "onload", "srcset"} == set()
    links = [value or "" for _, key, value in page.attributes if key in ("href", "xlink:href")]
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= {value for _, key, value in page.attributes if key == "id"}
    policy = next(value or "" for _, key, value in page.attributes if key == "content" and "src" in (value or ""))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "prefers-color-scheme: dark" in text


def hostile_run(directory: Path, many: int = 1, evil: str = HOSTILE) -> Path:
    """Every text of results and history is hostile, `many` of each."""
    directory.mkdir(exist_ok=True)
    bytes_key = b"\xff".decode("utf-8", "surrogateescape") + evil
    clock = iter(range(START, START + 10**12, 10**6))
    ops = []
    with (directory / "history.jsonl").open("wb") as sink:
        recorder = Recorder(sink, lambda: next(clock))
        for at in range(20 * many):
            line = recorder.invoke(at, "write", key=bytes_key, value=evil, client=evil, node=evil, level="quorum")
            ops.append(line.i)
            if at % 3 == 1:
                recorder.fail(line, evil)
            elif at % 3 == 2:
                recorder.info(line, evil)
            else:
                recorder.ok(line, revision=at)
            recorder.observe(evil + str(at), {"role": evil, "term": at, "digest": evil})
            recorder.fault(evil, evil, evil)
    found = {"kind": evil, "problem": evil, "key": evil, "ops": [*ops, ops[0] + 2]}
    fault = {"fault": evil, "title": evil, "nodes": [evil] * many, "detail": evil, "effects": [evil] * many}
    check = {"workload": evil, "check": evil, "promise": evil, "verdict": "invalid", "broken": 9}
    results = {
        "version": 1,
        "verdict": "failed",
        "operations": {"ok": 1, "fail": 1, "info": 1, "by_workload": {f"{evil}{n}": {"ok": 1} for n in range(many)}},
        **dict.fromkeys(("title", "command", "kvstore", "python", "started", "problem"), evil),
        "seed": 1,
        "nodes": [f"{evil}{n}" for n in range(many)],
        "workloads": [evil] * many,
        "seconds": 1.0,
        "expected": "passed",
        "capabilities": [{"name": evil, "available": False, "why": evil}] * many,
        "phases": [{"name": evil, "from_ns": START, "to_ns": START + 10**9}] * many,
        "faults": [{**fault, "from_ns": START + n * 10**6, "to_ns": START + n * 10**6 + 10**8} for n in range(many)],
        "skipped": [{"fault": evil, "why": evil}] * many,
        "checks": [{**check, "counts": {evil: evil}, "findings": [found] * many}] * many
        + [{**check, "check": "receipts", "counts": {f"{evil}{n}": evil for n in range(many)}, "findings": []}],
        "vacuous": [evil] * many,
    }
    (directory / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return directory


def test_nothing_that_was_recorded_breaks_out(tmp_path: Path) -> None:
    write_run(tmp_path, "stale")
    usual = Page(report.write(tmp_path).read_text(encoding="utf-8"))
    text = report.write(hostile_run(tmp_path / "hostile")).read_text(encoding="utf-8")
    page = Page(text)
    assert set(page.elements) <= set(usual.elements)
    assert page.elements.count("script") == 1
    assert {(name, key) for name, key, _ in page.attributes} <= {(name, key) for name, key, _ in usual.attributes}
    assert "</script></style></svg><img" in page.text, "it is shown, as text"
    assert not re.search("[\x00-\x08\x0e-\x1f\u202e\ud800-\udfff]", text)
    assert "\\xff" in page.text


@pytest.mark.parametrize("evil", ["&" * 450, "\u202e" * 450, HOSTILE * 5], ids=["escaped", "unprintable", "mixed"])
def test_the_page_is_bounded_whatever_was_recorded(tmp_path: Path, evil: str) -> None:
    directory = hostile_run(tmp_path, 12, evil)
    results = json.loads((directory / "results.json").read_text(encoding="utf-8"))
    for check in results["checks"][1:]:
        check["findings"] = []
    for name in ("faults", "checks", "skipped", "capabilities", "phases"):
        results[name] = (results[name] * 50)[:500]
    results["nodes"] = [f"{at}{evil}" for at in range(100)]
    (directory / "results.json").write_text(json.dumps(results), encoding="utf-8")
    size = report.write(directory).stat().st_size
    assert 200_000 < size <= limits.REPORT_BYTES_MAX


def test_marks_are_thinned_and_that_is_said(tmp_path: Path) -> None:
    many = [Point(float(at % 997), float(at // 997) * 2) for at in range(100_000)]
    kept, shown = _thin({"ok": many, "fail": many[:40], "info": []})
    assert shown == sum(map(len, kept.values())) <= limits.REPORT_POINTS_MAX
    assert len(kept["fail"]) > 15
    assert shown > limits.REPORT_POINTS_MAX / 2
    _, page = made(tmp_path)
    found = re.search(r"([\d,]+) marks stand for ([\d,]+) answered operations", page.text)
    assert found is not None
    assert int(found[1].replace(",", "")) < int(found[2].replace(",", ""))


def test_what_is_drawn_beyond_what_clients_asked_is_named(tmp_path: Path) -> None:
    _, page = made(tmp_path)
    answered = [op for op in read_run(tmp_path).history.operations if op.answered_ns is not None]
    last = sum(op.client == FINAL for op in answered)
    assert last > 0
    assert f"{len(answered):,} answered operations ({last:,} of them the last look at every key)" in page.text


class TestWindow:
    def test_it_has_the_named_and_the_nearest_of_the_same_key(self, stale: Path) -> None:
        run = read_run(stale)
        (found,) = run.results.checks[0].findings
        seen = window(run, found)
        assert [op.i for op in seen.named] == found.ops
        assert {op.key for op in seen.operations} == {found.key}
        assert len(seen.operations) <= limits.REPORT_WINDOW_OPS_MAX
        every = window(run, Found("all", "", None, [op.i for op in run.history.operations]))
        assert len(every.operations) == limits.REPORT_WINDOW_OPS_MAX
        assert every.hidden == len(run.history.operations) - limits.REPORT_WINDOW_OPS_MAX

    def test_what_nodes_said_can_be_what_shows_it(self, stale: Path) -> None:
        run = read_run(stale)
        told = run.history.observations[3]
        seen = window(run, Found("two leaders", "n1 and n2", None, [told.i]))
        assert (seen.operations, list(seen.told)) == ([], [told])

    def test_order_is_kept_where_time_is_stretched(self) -> None:
        moments = [0, 1_000, 2_000, 60_000_000_000, 60_000_001_000]
        scale = Stretched(moments, 100.0, 1_000.0)
        xs = [scale.x(moment) for moment in moments]
        assert (xs[0], xs[-1]) == (100.0, 1_000.0)
        assert all(after - before > 50 for before, after in pairwise(xs))
        assert xs[2] < scale.x(30_000_000_000) < xs[3]
        assert (scale.x(-5), scale.x(10**15)) == (100.0, 1_000.0)


@pytest.mark.parametrize("history", [None, b"", b"{broken\n"])
def test_results_without_a_history_have_a_page_too(tmp_path: Path, history: bytes | None) -> None:
    write_run(tmp_path)
    (tmp_path / "history.jsonl").unlink()
    if history is not None:
        (tmp_path / "history.jsonl").write_bytes(history)
    change(tmp_path, verdict="unknown", problem="n3 did not start within 30 s")
    page = Page(report.write(tmp_path).read_text(encoding="utf-8"))
    assert "Unknown: it cannot be said whether the promises held" in page.text
    assert "The run could not go on: n3 did not start within 30 s" in page.text
    assert "Without history:" in page.text


def test_a_node_that_was_never_heard_of_has_an_empty_lane(tmp_path: Path) -> None:
    write_run(tmp_path)
    change(tmp_path, nodes=["n1", "n9"])
    assert ">n9</text>" in report.write(tmp_path).read_text(encoding="utf-8")


def test_what_a_node_said_holds_until_its_next_line() -> None:
    """The observer writes a line only when something has changed."""
    told = [Observation(at, at * 10**9, "n1", {"role": role}) for at, role in enumerate(("follower", None, None))]
    told.append(Observation(60, 60 * 10**9, "n1", {"role": "leader"}))
    segments = [(each.from_ns // 10**9, each.to_ns // 10**9, each.state) for each in _states(told, 90 * 10**9)]
    assert segments == [(0, 1, "follower"), (1, 60, "down"), (60, 90, "leader")]


@pytest.mark.parametrize(("scenario", "what"), [("split", "scenario"), (None, "run")])
def test_an_unexpected_verdict_is_called_that_and_a_scenario_only_where_one_was_named(
    scenario: str | None, what: str, tmp_path: Path
) -> None:
    write_run(tmp_path)
    change(tmp_path, expected="failed", scenario=scenario)
    text = report.write(tmp_path).read_text().replace("</strong>", "")
    assert f"Not as expected: this {what} should have failed" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "No such file or directory"),
        ("{}", "required field"),
        ("{", "truncated"),
        ('{"version":2,"verdict":"passed","operations":{}}', "version 2; this kv reads version 1"),
        ('{"version":1,"verdict":"perfect","operations":{}}', "perfect"),
    ],
)
def test_results_that_cannot_be_read(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadResults, match=says) as raised:
        report.write(tmp_path)
    assert raised.value.exit_code == 7
    assert not (tmp_path / "report.html").exists()


def test_the_least_that_results_can_be(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"version":1,"verdict":"unknown","operations":{}}', encoding="utf-8")
    assert "Nothing was checked." in Page(report.write(tmp_path).read_text(encoding="utf-8")).text


def test_the_command_makes_the_page_and_says_where(stale: Path) -> None:
    (stale / "report.html").unlink(missing_ok=True)
    done = kv("chaos", "report", str(stale))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{stale / 'report.html'}\n", "")
    assert (stale / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    done = kv("chaos", "report", str(stale), "-o", "json")
    assert json.loads(done.stdout) == {"report": str(stale / "report.html")}
    done = kv("chaos", "report", str(stale / "nowhere"))
    assert (done.returncode, done.stdout) == (7, "")
    assert "results.json: No such file or directory" in done.stderr


class TestMarkup:
    def test_only_markup_is_markup(self) -> None:
        assert tag("p", "<b>", tag("b", "&"), None, 1234, class_='"x"') == (
            '<p class="&quot;x&quot;">&lt;b&gt;<b>&amp;</b>1,234</p>'
        )
        assert tag("path", d=Html("M0 0"), x=1.25, y=2.0) == '<path d="M0 0" x="1.2" y="2"></path>'

    def test_text_is_cut_in_the_middle_and_made_printable(self) -> None:
        assert printable("a" * 50 + "b" * 50, 11) == "aaaaa…bbbbb"
        assert printable("\n\x1b\u202e\udcff\ud800", 40) == "\\n\\x1b\\u202e\\udcff\\ud800"
        assert printable("\udcff") == "\\xff"
