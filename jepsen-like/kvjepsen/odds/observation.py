"""What one trial showed, as it is kept, and the folder in which the results of many runs add up.

    DIR/trials.jsonl    a header, then one line a trial, in the order in which they ended; {"problem"} for one that
                        could not be carried out, {"failover_s", "n"} for a leader that was killed, {"over_time"} for
                        nodes that failed and came back by themselves, {"run_s"} for how long a run took

A line is written whole and flushed; what a killed run left of its last line is cut off when the next one begins.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from kvjepsen.odds.plan import LEVELS, Trial, predicted
from kvstore.errors import LocalError

# unknown: it may have taken effect, or may have later. It counts as not served.
Outcome = Literal["acknowledged", "refused", "unknown"]

FILE: Final = "trials.jsonl"
_VERSION: Final = 1
_OTHERS: Final = frozenset({"problem", "failover_s", "over_time", "run_s"})


class BadFolder(LocalError):
    """The folder holds results of other parameters, or something else."""

    exit_code = 2


@dataclass(slots=True)
class Observation:
    """`outcomes` by level; `wrong`: promises broken besides, one line each; `leader`: who led when the nodes failed."""

    trial: Trial
    leader: str
    outcomes: dict[str, Outcome]
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def served(self, level: str) -> bool:
        """Whether the write was acknowledged within its deadline."""
        return self.outcomes[level] == "acknowledged"

    def mismatch(self, level: str) -> bool:
        """Whether that is not what the number of nodes alive says."""
        return self.served(level) != predicted(level, self.trial.n, len(self.trial.failed))

    def to_json(self) -> dict[str, Any]:
        """One line of the file."""
        trial = self.trial
        mismatches = [level for level in LEVELS if self.mismatch(level)]
        rest = {name: value for name, value in asdict(self).items() if name != "trial"}
        return {"id": trial.id, **trial._asdict(), **rest, "mismatches": mismatches}


def observation(line: dict[str, Any]) -> Observation:
    """The reverse of `to_json`. Raises KeyError, TypeError or ValueError for anything else."""
    trial = Trial(int(line["n"]), tuple(line["failed"]), bool(line["leader_failed"]), line["p"], int(line["number"]))
    outcomes = {level: line["outcomes"][level] for level in LEVELS}
    if trial.id != line["id"] or not set(outcomes.values()) <= {"acknowledged", "refused", "unknown"}:
        raise ValueError(f"{line['id']} does not say what its line says")
    return Observation(trial, str(line["leader"]), outcomes, list(line["wrong"]), float(line["seconds"]))


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """Hold the folder: two runs at a time would make the same trials and count them twice. Raises BadFolder."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadFolder(f"another run writes to {folder}; wait for it, or give another folder") from None
        yield
    finally:
        os.close(fd)


class Results:
    """All observations with one seed and one fault. In memory alone if there is no folder."""

    def __init__(self, folder: Path | None, *, seed: int, fault: str, simulated: bool) -> None:
        """Goes on with what `folder` holds. Raises BadFolder."""
        self.observations: list[Observation] = []
        self.problems: list[str] = []
        self.failovers_s: list[float] = []
        self.over_time: list[dict[str, Any]] = []
        self.runs_s: list[float] = []
        self._header = {"odds": _VERSION, "seed": seed, "fault": fault, "simulated": simulated}
        self._path = None if folder is None else folder / FILE
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._resume(self._path)

    @property
    def done(self) -> set[str]:
        """The ids of the trials that need not be made again."""
        return {each.trial.id for each in self.observations}

    def add(self, each: Observation) -> None:
        """Keep it."""
        self.observations.append(each)
        self._append(each.to_json())

    def add_problem(self, problem: str) -> None:
        """Keep what a trial could not be carried out for. The trial may be made again; the problem stays."""
        self.problems.append(problem)
        self._append({"problem": problem})

    def add_failover(self, n: int, seconds: float) -> None:
        """Keep how long nobody could write after the leader of n nodes had been killed."""
        self.failovers_s.append(seconds)
        self._append({"n": n, "failover_s": round(seconds, 4)})

    def add_over_time(self, found: dict[str, Any]) -> None:
        """Keep what nodes that failed and came back by themselves have shown."""
        self.over_time.append(found)
        self._append({"over_time": found})

    def add_run(self, seconds: float) -> None:
        """Keep how long a run took that has made something."""
        self.runs_s.append(seconds)
        self._append({"run_s": round(seconds, 1)})

    def _append(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _resume(self, path: Path) -> None:
        data = path.read_bytes() if path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if not whole:
            path.write_text(json.dumps(self._header) + "\n")
            return
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))
        try:
            header, *lines = (json.loads(line) for line in whole.splitlines())
            if header != self._header:
                raise BadFolder(f"{path} holds results of {header}, not of {self._header}; give another folder")
            self.problems = [str(line["problem"]) for line in lines if "problem" in line]
            self.failovers_s = [float(line["failover_s"]) for line in lines if "failover_s" in line]
            self.runs_s = [float(line["run_s"]) for line in lines if "run_s" in line]
            self.over_time = [dict(line["over_time"]) for line in lines if "over_time" in line]
            self.observations = [observation(line) for line in lines if not line.keys() & _OTHERS]
        except (KeyError, TypeError, ValueError) as broken:
            raise BadFolder(f"{path} is not a file of this build: {broken!r}") from broken
