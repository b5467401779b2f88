"""Checks of the cluster as its nodes see it, by `/v1/cluster`."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from kvcli.doctor.report import Evidence, Finding, Outcome
from kvcli.exit_codes import Exit
from kvcli.situation import best
from kvcli.sizes import even_size
from kvstore.consensus.configuration import majority
from kvstore.model.results import ClusterView, MemberView

# What to do about an alarm.
_ADVICE: Final = {
    "divergence": "keep all data directories, report this, and rebuild the odd one from the others",
    "clock_drift": "set its clock right, with NTP or chrony",
    "backup_failed": "look into the log of that node, and at the room in its backup directory",
    "encryption_keys": "put the key file right before the node is started again",
}
_NOBODY: Final = Outcome(None, skipped="no endpoint answers")


def endpoints(evidence: Evidence) -> Outcome:
    """Who answers."""
    findings = []
    answered = evidence.views
    given = [each for each in evidence.told if each.given]
    for each in given:
        if isinstance(each.view, Exception):
            # A node that does not answer is one fault among others, unless none answers.
            code = Exit.ABSENT if answered else Exit.CANNOT_CONNECT
            reason = str(each.view).removeprefix(f"{each.endpoint}: ")
            detail = f"{each.endpoint} does not answer ({reason})"
            todo = evidence.todos.get(each.endpoint, "start the node there (kv serve), or name others with --endpoints")
            findings.append(Finding("endpoint_unreachable", detail, todo, code))
    return Outcome(f"{sum(each.endpoint in answered for each in given)} of {len(given)} endpoints answer", findings)


def identity(evidence: Evidence) -> Outcome:
    """Whether they are one cluster."""
    ids = sorted({view.cluster_id for view in evidence.views.values()})
    if not ids:
        return _NOBODY
    detail = f"the endpoints belong to different clusters: {', '.join(ids)}"
    todo = "name the endpoints of one of them"
    return Outcome(f"cluster {', '.join(ids)}", [Finding("different_clusters", detail, todo)] if len(ids) > 1 else [])


def leader(evidence: Evidence) -> Outcome:
    """Whether there is one, and all follow it."""
    views = evidence.views.values()
    if not views:
        return _NOBODY
    by_term: dict[int, set[str]] = defaultdict(set)
    for view in views:
        if view.leader is not None:
            by_term[view.term].add(view.leader)
    findings = []
    for term, leaders in sorted(by_term.items()):
        if len(leaders) > 1:
            detail = f"term {term} has two leaders, {' and '.join(sorted(leaders))}"
            findings.append(Finding("two_leaders", detail, "stop writing, and report this", Exit.INTERNAL))
    if not by_term:
        detail = "no node that answers knows a leader: writes are refused, but at level one"
        todo = "start nodes that are down; if all run, see whether they reach each other at their peer addresses"
        return Outcome("none", [Finding("no_leader", detail, todo, Exit.REFUSED)])
    newest = by_term[max(by_term)]
    if behind := sorted(view.node for view in views if view.leader not in newest):
        detail = f"{', '.join(behind)} does not follow the leader {', '.join(sorted(newest))}"
        findings.append(
            Finding("leader_not_agreed", detail, "see whether it reaches the others at their peer addresses")
        )
    return Outcome(f"{' and '.join(sorted(newest))}, term {max(by_term)}", findings)


def quorum(evidence: Evidence) -> Outcome:
    """Who is down, and how many more may be."""
    if not evidence.views:
        return _NOBODY
    view = best(list(evidence.views.values()))
    alive, voters, margin = _margin(view)
    findings = [
        Finding("member_unreachable", f"{view.node} cannot reach {member.name} ({member.peer})", f"start {member.name}")
        for member in view.members
        if not member.reachable
    ]
    if margin < 0:
        detail = f"{alive} of {voters} voters are reachable, {majority(voters)} are needed"
        todo = "start the others again; if they are lost for good: kv member recover --help"
        findings.append(Finding("no_quorum", detail, todo, Exit.REFUSED))
    elif voters == 1:
        detail = "a cluster of one: while the node is down, nothing can be read or written"
        findings.append(Finding("single_node", detail, "two more members survive a failure: kv member add", Exit.OK))
    elif margin == 0:
        detail = "one more failure, and writes are refused"
        todo = "add members: kv member add" if alive == voters else "start what is down"
        findings.append(Finding("no_margin", detail, todo, Exit.OK))
    return Outcome(f"{alive} of {voters} voters reachable, {max(0, margin)} more may fail", findings)


def size(evidence: Evidence) -> Outcome:
    """Even numbers of voters."""
    if not evidence.views:
        return _NOBODY
    voters = _margin(best(list(evidence.views.values())))[1]
    advice = even_size(voters)
    todo = "add or remove one: kv member"
    return Outcome(f"{voters} voters", [] if advice is None else [Finding("even_size", advice, todo, Exit.OK)])


def handover(evidence: Evidence) -> Outcome:
    """Writes at level one that wait: each member's own count, from whoever could ask it."""
    counts: dict[str, int] = {}
    for member in _members(evidence.views.values()):
        if member.reachable:
            counts[member.name] = max(counts.get(member.name, 0), member.intents_pending)
    if not counts:
        return _NOBODY
    findings = [
        Finding(
            "writes_pending",
            f"{name} has {count:,} writes at level one that it has not handed over",
            "keep its disk until they are; they wait for a leader",
            Exit.OK,
        )
        for name, count in sorted(counts.items())
        if count
    ]
    return Outcome(f"{sum(counts.values()):,} writes at level one wait", findings)


def contents(evidence: Evidence) -> Outcome:
    """Digests are compared at equal indices only: nodes are rarely at the same index at the same moment."""
    values: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for member in _members(evidence.views.values()):
        if member.digest is not None:
            values[int(member.digest["index"])][str(member.digest["value"])].add(member.name)
    if not values:
        return Outcome(None, skipped="no member told a digest")
    findings = []
    for index, found in sorted(values.items()):
        if len(found) > 1:
            sides = " against ".join(", ".join(sorted(names)) for names in found.values())
            detail = f"contents differ at index {index}: {sides}"
            findings.append(Finding("divergence", detail, _ADVICE["divergence"], Exit.INTERNAL))
    names = {name for found in values[max(values)].values() for name in found}
    return Outcome(f"compared on {', '.join(sorted(names))} at index {max(values)}", findings)


def alarms(evidence: Evidence) -> Outcome:
    """What the nodes have raised."""
    if not evidence.views:
        return _NOBODY
    seen = {
        (str(alarm.get("code")), str(alarm.get("node")), str(alarm.get("detail")))
        for view in evidence.views.values()
        for alarm in view.alarms
    }
    findings = [
        Finding(
            "alarm",
            f"{code} on {node}: {detail}",
            _ADVICE.get(code, ""),
            Exit.INTERNAL if code == "divergence" else Exit.ABSENT,
        )
        for code, node, detail in sorted(seen)
    ]
    return Outcome(f"{len(findings) or 'no'} alarm{'s' * (len(findings) != 1)}", findings)


def summary(evidence: Evidence) -> str:
    """How the cluster is, in a line."""
    if not evidence.views:
        return "no endpoint answers"
    view = best(list(evidence.views.values()))
    alive, voters, margin = _margin(view)
    return (
        f"leader {view.leader or 'none'}, term {view.term}, revision {view.revision}, "
        f"{alive} of {voters} voters reachable, {max(0, margin)} more may fail"
    )


def _members(views: Iterable[ClusterView]) -> list[MemberView]:
    return [member for view in views for member in view.members]


def _margin(view: ClusterView) -> tuple[int, int, int]:
    """Voters that are reachable, all voters, and how many more may fail."""
    voters = [member for member in view.members if member.voter]
    alive = sum(member.reachable for member in voters)
    return alive, len(voters), alive - majority(len(voters))
