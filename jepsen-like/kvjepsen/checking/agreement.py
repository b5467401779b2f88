"""Agreement of the logs, from what nodes said about themselves: one leader a term, one digest at an index."""

from collections.abc import Iterable
from dataclasses import dataclass

from kvjepsen.checking.verdict import Findings, Result, first
from kvjepsen.records import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement(Result):
    """`compared`: indices at which at least two nodes told a digest."""

    observations: int
    terms: int
    leaders: int
    compared: int


def check(observations: Iterable[Observation]) -> Agreement:
    """Election safety (paper, 5.2), state machine safety (5.4.3), and terms that never go back (5.1).

    A node whose disk was taken away is another one under its name: its terms begin anew. UNKNOWN if no node told that
    it leads, nor anything that could be compared with what was told before.
    """
    found = Findings()
    count = judged = 0
    leaders: dict[int, Observation] = {}
    terms: dict[str, Observation] = {}
    digests: dict[int, Observation] = {}
    compared: set[int] = set()
    for told in observations:
        count += 1
        if told.view.get("wiped"):
            terms.pop(told.node, None)
        term = told.view.get("term")
        if term is not None:
            before = terms.get(told.node)
            judged += before is not None
            if before is not None and term < before.view["term"]:
                found.note(
                    "term went back", f"{told.node} was in term {before.view['term']}, then {term}", before.i, told.i
                )
            terms[told.node] = told
            if told.view.get("role") == "leader":
                judged += 1
                other = leaders.setdefault(term, told)
                if other.node != told.node:
                    found.note("two leaders", f"{other.node} and {told.node} both lead term {term}", other.i, told.i)
        digest = told.view.get("digest")
        if digest is not None:
            other = digests.setdefault(digest["index"], told)
            judged += other is not told
            if other.node != told.node:
                compared.add(digest["index"])
            if other.view["digest"]["value"] != digest["value"]:
                problem = f"{other.node} and {told.node} differ at index {digest['index']}"
                found.note("divergence", problem, other.i, told.i)
    return Agreement(
        verdict=found.verdict(judged),
        broken=len(found),
        findings=first(found),
        observations=count,
        terms=len({told.view["term"] for told in terms.values()} | set(leaders)),
        leaders=len({told.node for told in leaders.values()}),
        compared=len(compared),
    )
