"""The page, in the order in which it is read: verdict, what broke, what was promised, what was done, what was observed.

One file that needs nothing else: style and script are in it, and its content security policy allows nothing from
outside, nor any script or style but these two. Without JavaScript nothing is missing but the time under the cursor.
"""

import base64
import hashlib
from importlib import resources

from kvjepsen.report import at_one, injected, latency, outcomes, promises, throughput, timeline, tracks, verdict, words
from kvjepsen.report.markup import Child, Html, join, printable, tag
from kvjepsen.report.run import Run
from kvstore import limits


def render(run: Run) -> str:
    """The whole document."""
    style, script = _asset("report.css"), _asset("report.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{run.results.verdict}: {run.results.title or 'kv chaos run'}"),
        tag("style", style),
    )
    body = tag("body", tag("main", verdict.draw(run), *_sections(run)), tag("script", script))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(run: Run) -> list[Html]:
    broken = verdict.findings(run.results)
    sections = [
        _section("promised", "What was promised", promises.draw(run)),
        _section("done", "What was done to the cluster", injected.draw(run)),
        _section(
            "observed",
            "What was observed",
            outcomes.draw(run),
            tag("h3", "How long answers took"),
            latency.draw(run),
            tag("h3", "Answers per second"),
            throughput.draw(run),
            tag("h3", "The nodes"),
            tracks.draw(run),
        ),
        _section("one", "Level ONE: late, superseded, stale", at_one.draw(run)),
        _section("again", "Run it again", *_again(run)),
    ]
    if broken:
        shown = [timeline.draw(run, check, found, number) for number, (check, found) in enumerate(broken, 1)]
        there = sum(max(check.broken, len(check.findings)) for check in run.results.checks)
        sections.insert(0, _section("broken", "What broke", *shown, words.left_out(len(shown), there, "findings")))
    return sections


def _section(name: str, title: str, *content: Child) -> Html:
    return tag("section", tag("h2", title), *content, id=name)


def _again(run: Run) -> list[Html]:
    command = printable(run.results.command, limits.REPORT_COMMAND_CHARS_MAX) or "not recorded"
    return [
        words.paragraph(
            "The seed decides which faults are injected when, and what clients ask. Real processes and disks decide "
            "the rest, so a second run is alike but not the same."
        ),
        tag("pre", tag("code", _whole(command)), class_="command"),
        words.paragraph(
            "Everything on this page comes from ", tag("code", "results.json"), " and ", tag("code", "history.jsonl"),
            " beside it. ", tag("code", "kv chaos report DIR"), " makes it again; ",
            tag("code", "kv chaos check DIR/history.jsonl"), " judges linearizability again.",
        ),
    ]  # fmt: skip


def _whole(command: str) -> Html:
    """A command in pieces that are not cut: half a command cannot be run."""
    size = limits.REPORT_TEXT_CHARS_MAX
    return join(*(command[at : at + size] for at in range(0, len(command), size)))


def _asset(name: str) -> Html:
    return Html(resources.files("kvjepsen.report").joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
