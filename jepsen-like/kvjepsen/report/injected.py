"""What was done to the cluster: the parts of the run, each fault with what was seen of it, and what was left out."""

from collections import Counter

from kvjepsen.report import words
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.results import Injected
from kvjepsen.report.run import Run
from kvstore import limits


def draw(run: Run) -> Html:
    """Summary, table of faults, and what could not be injected."""
    return join(_phases(run), _faults(run), _skipped(run), _capabilities(run))


def _phases(run: Run) -> Html | None:
    phases = run.results.phases[: limits.REPORT_ROWS_MAX]
    told = [f"{phase.name} ({(run.end_of(phase) - phase.from_ns) / 1e9:.1f} s)" for phase in phases]
    return words.paragraph(f"Parts of the run: {', '.join(told)}.") if told else None


def _faults(run: Run) -> Html:
    faults = sorted(run.results.faults, key=lambda fault: fault.from_ns)
    if not faults:
        return words.paragraph("No fault was injected.")
    kinds = Counter(fault.fault for fault in faults)
    told = words.names(f"{kind} ({times:,})" for kind, times in kinds.most_common())
    shown = faults[: limits.REPORT_ROWS_MAX]
    head = ["fault", "nodes", "from", "to", "what was seen of it"]
    table = words.table(head, [_row(run, fault) for fault in shown], "faults")
    return join(words.paragraph(f"Faults by kind: {told}."), table, words.left_out(len(shown), len(faults), "faults"))


def _row(run: Run, fault: Injected) -> list[Html | str]:
    title = join(fault.title or fault.fault, tag("span", _kind(fault), class_="quiet name"))
    until = "not taken back" if fault.to_ns is None else words.seconds(run.end_of(fault) - run.start_ns)
    effects: Html | str = "; ".join(fault.effects)
    if not fault.effects:
        effects = tag("span", "nothing was seen of it", class_="pill unknown")
    return [title, words.names(fault.nodes) or "-", words.seconds(fault.from_ns - run.start_ns), until, effects]


def _kind(fault: Injected) -> str:
    return f"{fault.fault}: {fault.detail}" if fault.detail else fault.fault


def _skipped(run: Run) -> Html:
    skipped = run.results.skipped
    if not skipped:
        return words.paragraph("Nothing that was asked for was skipped.")
    shown = skipped[: limits.REPORT_ROWS_MAX]
    table = words.table(["skipped", "why"], [[each.fault, each.why] for each in shown])
    return join(
        tag("h3", "Skipped"),
        words.paragraph("Asked for, but not injected here. What is skipped is not tested by this run."),
        table,
        words.left_out(len(shown), len(skipped), "skipped faults"),
    )


def _capabilities(run: Run) -> Html | None:
    probed = run.results.capabilities[: limits.REPORT_ROWS_MAX]
    if not probed:
        return None
    rows = [[each.name, "yes" if each.available else "no", each.why or "-"] for each in probed]
    missing = sum(not each.available for each in probed)
    summary = f"What this machine offers for faults: {len(probed) - missing} of {len(probed)}"
    return tag("details", tag("summary", summary), words.table(["needed for faults", "there", "why not"], rows))
