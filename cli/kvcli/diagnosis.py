"""What the views of several nodes say about the health of a cluster. Pure: views in, findings out."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from kvcli.exit_codes import Exit
from kvcli.sizes import even_size
from kvstore.model.results import ClusterView

# The first of these that a finding asks for is the exit code of the whole.
_WORST_FIRST: Final = (Exit.CANNOT_CONNECT, Exit.INTERNAL, Exit.REFUSED, Exit.ABSENT)

# What to do about an alarm.
_ADVICE: Final = {
    "divergence": "; keep all data directories, report this, and rebuild the odd one from the others",
    "clock_drift": "; set its clock right",
}


class Finding(NamedTuple):
    """`exit_code` 0 marks advice: nothing is wrong now."""

    code: str
    detail: str
    exit_code: Exit


@dataclass
class Report:
    """All findings, and the line that says what is good when there are none."""

    findings: list[Finding] = field(default_factory=list)
    summary: str = ""

    @property
    def exit_code(self) -> Exit:
        """0 fine, 3 nothing reachable, 8 divergence, 4 no quorum, 1 something else is wrong."""
        asked = {finding.exit_code for finding in self.findings}
        return next((code for code in _WORST_FIRST if code in asked), Exit.OK)

    def to_json(self) -> dict[str, Any]:
        """The document of `-o json`."""
        return {
            "fine": self.exit_code == Exit.OK,
            "exit_code": int(self.exit_code),
            "summary": self.summary,
            "findings": [
                {"severity": "problem" if f.exit_code else "advice", "code": f.code, "detail": f.detail}
                for f in self.findings
            ],
        }

    def add(self, code: str, detail: str, exit_code: Exit = Exit.ABSENT) -> None:
        """One more finding, a problem unless told otherwise."""
        self.findings.append(Finding(code, detail, exit_code))


def examine(views: Mapping[str, ClusterView | Exception]) -> Report:
    """What `views` (endpoint to answer, or to why there is none) say together."""
    report = Report()
    answered = {endpoint: view for endpoint, view in views.items() if isinstance(view, ClusterView)}
    for endpoint, failure in views.items():
        if isinstance(failure, Exception):
            # A node that does not answer is one fault among others, unless none answers.
            code = Exit.ABSENT if answered else Exit.CANNOT_CONNECT
            reason = str(failure).removeprefix(f"{endpoint}: ")
            report.add("endpoint_unreachable", f"{endpoint} does not answer ({reason})", code)
    if not answered:
        report.summary = "no endpoint answers"
        return report
    _clusters(report, answered)
    _leaders(report, answered)
    best = max(answered.values(), key=lambda view: (view.leader is not None, view.term, view.node == view.leader))
    _members(report, best)
    _pending(report, answered)
    _digests(report, answered)
    _alarms(report, answered)
    return report


def _clusters(report: Report, views: Mapping[str, ClusterView]) -> None:
    ids = {view.cluster_id for view in views.values()}
    if len(ids) > 1:
        report.add("different_clusters", f"the endpoints belong to different clusters: {', '.join(sorted(ids))}")


def _leaders(report: Report, views: Mapping[str, ClusterView]) -> None:
    by_term: dict[int, set[str]] = defaultdict(set)
    for view in views.values():
        if view.leader is not None:
            by_term[view.term].add(view.leader)
    for term, leaders in sorted(by_term.items()):
        if len(leaders) > 1:
            named = " and ".join(sorted(leaders))
            report.add("two_leaders", f"term {term} has two leaders, {named}; report this", Exit.INTERNAL)
    if not by_term:
        report.add(
            "no_leader", "no node that answers knows a leader: writes are refused, but at level one", Exit.REFUSED
        )
        return
    newest = by_term[max(by_term)]
    behind = sorted(view.node for view in views.values() if view.leader not in newest)
    if behind:
        report.add("leader_not_agreed", f"{', '.join(behind)} does not follow the leader {', '.join(sorted(newest))}")


def _members(report: Report, view: ClusterView) -> None:
    voters = [member for member in view.members if member.voter]
    alive = [member for member in voters if member.reachable]
    majority = len(voters) // 2 + 1
    margin = len(alive) - majority
    for member in view.members:
        if not member.reachable:
            report.add("member_unreachable", f"{view.node} cannot reach {member.name} ({member.peer})")
    if margin < 0:
        detail = f"{len(alive)} of {len(voters)} voters are reachable, {majority} are needed: start the others again"
        report.add("no_quorum", detail, Exit.REFUSED)
    elif len(voters) == 1:
        report.add("single_node", "a cluster of one: while the node is down, nothing can be read or written", Exit.OK)
    elif margin == 0:
        report.add("no_margin", "one more failure, and writes are refused", Exit.OK)
    if (advice := even_size(len(voters))) is not None:
        report.add("even_size", advice, Exit.OK)
    report.summary = (
        f"leader {view.leader or 'none'}, term {view.term}, revision {view.revision}, "
        f"{len(alive)} of {len(voters)} voters reachable, {max(0, margin)} more may fail"
    )


def _pending(report: Report, views: Mapping[str, ClusterView]) -> None:
    """Each member's own count, from whoever could ask it."""
    counts: dict[str, int] = {}
    for view in views.values():
        for member in view.members:
            if member.reachable:
                counts[member.name] = max(counts.get(member.name, 0), member.intents_pending)
    for name, count in sorted(counts.items()):
        if count:
            detail = f"{name} has {count:,} writes at level one that it has not handed over: keep its disk"
            report.add("writes_pending", detail, Exit.OK)


def _digests(report: Report, views: Mapping[str, ClusterView]) -> None:
    """Digests are compared at equal indices only: nodes are rarely at the same index at the same moment."""
    values: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for view in views.values():
        for member in view.members:
            if member.digest is not None:
                values[int(member.digest["index"])][str(member.digest["value"])].add(member.name)
    for index, found in sorted(values.items()):
        if len(found) > 1:
            sides = " against ".join(", ".join(sorted(names)) for names in found.values())
            report.add("divergence", f"contents differ at index {index}: {sides}; report this", Exit.INTERNAL)


def _alarms(report: Report, views: Mapping[str, ClusterView]) -> None:
    seen = {
        (str(alarm.get("code")), str(alarm.get("node")), str(alarm.get("detail")))
        for view in views.values()
        for alarm in view.alarms
    }
    for code, node, detail in sorted(seen):
        advice = _ADVICE.get(code, "")
        found = f"{code} on {node}: {detail}{advice}"
        report.add("alarm", found, Exit.INTERNAL if code == "divergence" else Exit.ABSENT)
