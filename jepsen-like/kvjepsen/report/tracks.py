"""What the nodes said of themselves, over the time of the run: who led, in which term, which nodes answered.

A node is asked again and again, and what it says is recorded when it has changed: so it holds until its next line.
Under each node are the faults that were aimed at it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from kvjepsen.records import Observation
from kvjepsen.report import bands, words
from kvjepsen.report.axes import LEFT, TimeAxis, picture
from kvjepsen.report.markup import Html, join, tag
from kvjepsen.report.run import Run
from kvstore import limits

STATES: Final = {
    "leader": "leader",
    "follower": "follower",
    "candidate": "candidate or learner",
    "down": "no answer",
}

_TOP: Final = 10.0
_LANE: Final = 24.0
_BAR: Final = 12.0
_CHAR: Final = 6.6
_NARROWEST: Final = 0.5


class Segment(NamedTuple):
    """A time in which one thing was so."""

    from_ns: int
    to_ns: int
    state: str


def draw(run: Run) -> Html:
    """One lane each for the leader and the term, then one for each node."""
    told = run.history.observations
    if not told:
        return words.note("Nobody watched the nodes in this run, so there is nothing to draw here.")
    axis = TimeAxis.of(run)
    by_node = _by_node(run, told)
    drawn = [
        _named_lane("leader", _leaders(run, told), axis, _TOP, "leading"),
        _named_lane("term", _terms(run, told), axis, _TOP + _LANE, "term"),
    ]
    top = _TOP + 2 * _LANE + 6
    for node, segments in by_node.items():
        drawn += [_node_lane(node, segments, axis, top), _aimed_at(run, node, axis, top)]
        top += _LANE
    svg = picture(
        "Leader, term and state of each node over time",
        top + 44,
        bands.shade(run, axis.x, _TOP, top),
        axis.draw(_TOP, top),
        *drawn,
        bands.phases(run, axis.x, top + 22),
        timed=axis,
    )
    meaning = [tag("span", _swatch(state), text) for state, text in STATES.items()]
    aimed = tag("span", _swatch("aimed"), "a fault aimed at this node")
    return join(svg, tag("p", *meaning, aimed, class_="legend"))


def _by_node(run: Run, told: Iterable[Observation]) -> dict[str, list[Segment]]:
    """The state of each node, those of the results first."""
    heard: dict[str, list[Observation]] = {node: [] for node in run.results.nodes}
    for observation in told:
        if "role" in observation.view and observation.t_ns is not None:
            heard.setdefault(observation.node, []).append(observation)
    kept = list(heard)[: limits.REPORT_NODES_MAX]
    return {node: _states(heard[node], run.end_ns) for node in kept}


def _states(heard: Sequence[Observation], end_ns: int) -> list[Segment]:
    return _spans([(observation.t_ns or 0, _state(observation.view["role"])) for observation in heard], end_ns)


def _state(role: object) -> str:
    if role is None:
        return "down"
    return str(role) if role in ("leader", "follower") else "candidate"


def _leaders(run: Run, told: Iterable[Observation]) -> list[Segment]:
    """Of the nodes that say they lead, the one in the highest term."""
    leading: dict[str, int] = {}
    changes: list[tuple[int, str]] = []
    for observation in told:
        role, term = observation.view.get("role", ""), observation.view.get("term")
        if role == "leader" and isinstance(term, int):
            leading[observation.node] = term
        elif role != "":
            leading.pop(observation.node, None)
        changes.append((observation.t_ns or 0, max(leading, key=lambda node: leading[node], default="")))
    return _spans(changes, run.end_ns)


def _terms(run: Run, told: Iterable[Observation]) -> list[Segment]:
    """The highest term that any node has told."""
    highest = 0
    changes = []
    for observation in told:
        term = observation.view.get("term")
        if isinstance(term, int):
            highest = max(highest, term)
            changes.append((observation.t_ns or 0, str(highest)))
    return _spans(changes, run.end_ns)


def _spans(changes: Sequence[tuple[int, str]], end_ns: int) -> list[Segment]:
    """From changes to times; equal neighbours are one, and "" is nothing."""
    kept = [change for at, change in enumerate(changes) if at == 0 or changes[at - 1][1] != change[1]]
    ends = [*(began for began, _ in kept), end_ns][1:]
    return [Segment(began, end, state) for (began, state), end in zip(kept, ends, strict=True) if state]


def _named_lane(name: str, segments: Sequence[Segment], axis: TimeAxis, top: float, class_: str) -> Html:
    """Segments with what they stand for written into them, as far as there is room."""
    drawn = [_lane_name(name, top)]
    last = LEFT - 1
    for segment in segments:
        left, right = axis.x(segment.from_ns), axis.x(segment.to_ns)
        if right - last < _NARROWEST:
            continue  # nobody could see it, and thousands of them would only make the page large
        last = right
        drawn.append(
            tag(
                "g",
                tag("title", f"{name} {segment.state}, {words.seconds(segment.from_ns - axis.start_ns)}"),
                tag("rect", x=left, y=top, width=max(_NARROWEST, right - left - 1), height=_BAR + 3, class_=class_),
                _inside(segment.state, left, right, top + 11),
            )
        )
    return join(*drawn)


def _inside(text: str, left: float, right: float, y: float) -> Html | None:
    if right - left < _CHAR * len(text) + 4:
        return None
    return tag("text", text, x=(left + right) / 2, y=y, class_="label inside")


def _node_lane(node: str, segments: Sequence[Segment], axis: TimeAxis, top: float) -> Html:
    """One path for each state: most compact, also for an hour of flapping."""
    y = top + _BAR / 2
    paths: dict[str, list[str]] = defaultdict(list)
    last: dict[str, float] = {}
    for segment in segments:
        left, right = axis.x(segment.from_ns), axis.x(segment.to_ns)
        if right - last.get(segment.state, 0.0) < _NARROWEST:
            continue
        last[segment.state] = right
        paths[segment.state].append(f"M{left:.1f} {y:.1f}H{max(right, left + _NARROWEST):.1f}")
    lanes = [tag("path", d=Html("".join(paths[state])), class_=f"state {state}") for state in STATES if state in paths]
    return join(_lane_name(node, top), *lanes)


def _aimed_at(run: Run, node: str, axis: TimeAxis, top: float) -> Html:
    y = top + _BAR + 2.5
    drawn = []
    for fault in [fault for fault in run.results.faults if node in fault.nodes][: limits.REPORT_ROWS_MAX]:
        left = axis.x(fault.from_ns)
        line = Html(f"M{left:.1f} {y:.1f}H{max(left + 2, axis.x(run.end_of(fault))):.1f}")
        drawn.append(tag("path", tag("title", fault.title or fault.fault), d=line, class_="state aimed"))
    return join(*drawn)


def _lane_name(name: str, top: float) -> Html:
    return tag("text", words.short_value(name)[:10], x=LEFT - 8, y=top + 11, class_="label end")


def _swatch(state: str) -> Html:
    line = tag("path", d=Html("M1 8H15"), class_=f"state {state}")
    return tag("svg", line, viewBox="0 0 16 16", class_="key", aria_hidden="true")
