"""A run as the report sees it: results and history read from its directory, and where its time begins and ends."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from kvjepsen.formats import BadHistory, read_history
from kvjepsen.records import History, Operation
from kvjepsen.report.results import RESULTS, Injected, Phase, Results, read_results

HISTORY: Final = "history.jsonl"


@dataclass(frozen=True)
class Run:
    """`unread` says why there is no history, if there is none; the report then has what the results tell."""

    results: Results
    history: History
    unread: str | None = None

    @cached_property
    def start_ns(self) -> int:
        """The moment that is 0 on the page."""
        return min(self._moments, default=0)

    @cached_property
    def end_ns(self) -> int:
        """The end of the last thing that happened, at least a millisecond later."""
        return max([*self._moments, self.start_ns + 1_000_000])

    def end_of(self, what: Injected | Phase) -> int:
        """When it ended; a fault that was never taken back lasts until the end."""
        return self.end_ns if what.to_ns is None else max(what.from_ns, what.to_ns)

    @cached_property
    def by_line(self) -> dict[int, Operation]:
        """Operations by the number that names them."""
        return {op.i: op for op in self.history.operations}

    @cached_property
    def _moments(self) -> list[int]:
        moments = [ns for phase in self.results.phases for ns in (phase.from_ns, phase.to_ns)]
        for fault in self.results.faults:
            moments += [fault.from_ns] if fault.to_ns is None else [fault.from_ns, fault.to_ns]
        for op in self.history.operations:
            # A receipt is read later than its write is answered.
            moments += [ns for ns in (op.t_ns, op.answered_ns, op.ended_ns) if ns is not None]
        return moments + [told.t_ns for told in self.history.observations if told.t_ns is not None]


def read_run(directory: Path) -> Run:
    """The run in a directory. Raises BadResults; a history that cannot be read is a note in the report."""
    results = read_results(directory / RESULTS)
    try:
        return Run(results, read_history(directory / HISTORY))
    except BadHistory as unread:
        return Run(results, History(), str(unread))
