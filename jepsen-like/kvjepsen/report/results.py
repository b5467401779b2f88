"""`results.json`: what a run was, what was done to the cluster, what each check says. Written by the runner.

Times are nanoseconds of the clock of the history. Fields that a later version adds are passed over.
"""

from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import msgspec

from kvstore import limits
from kvstore.errors import LocalError

VERSION: Final = 1
RESULTS: Final = "results.json"

RunVerdict = Literal["passed", "failed", "vacuous", "unknown"]
CheckVerdict = Literal["valid", "invalid", "unknown"]


class BadResults(LocalError):
    """Results that cannot be read: says which file, and what is wrong with it."""

    exit_code: ClassVar[int] = 7


class Capability(msgspec.Struct):
    """Something that a fault needs of the machine, and why it is not there."""

    name: str
    available: bool
    why: str = ""


class Phase(msgspec.Struct):
    """A part of the run: before, faults, after, final."""

    name: str
    from_ns: int
    to_ns: int


class Counts(msgspec.Struct):
    """How operations ended."""

    ok: int = 0
    fail: int = 0
    info: int = 0


class Operations(Counts):
    """The same for the whole run, for each workload, and how many succeeded in each phase."""

    by_workload: dict[str, Counts] = {}
    ok_by_phase: dict[str, int] = {}


class Injected(msgspec.Struct):
    """A fault that was injected, and what was seen of it. `to_ns` is None if it was never taken back."""

    fault: str
    from_ns: int
    to_ns: int | None = None
    title: str = ""
    nodes: list[str] = []
    detail: str = ""
    effects: list[str] = []


class Skipped(msgspec.Struct):
    """A fault that could not be injected."""

    fault: str
    why: str


class Found(msgspec.Struct):
    """One broken promise; `ops` are the numbers (`i`) of the lines of the history that show it."""

    kind: str
    problem: str
    key: str | None = None
    ops: list[int] = []


class Check(msgspec.Struct):
    """What one checker says about one workload, or about the whole run (`workload` is None)."""

    check: str
    verdict: CheckVerdict
    workload: str | None = None
    promise: str = ""
    counts: dict[str, Any] = {}
    broken: int = 0
    findings: list[Found] = []

    @property
    def name(self) -> str:
        """Workload and check, as they are called everywhere on the page."""
        return self.check if self.workload is None else f"{self.workload}: {self.check}"


class Results(msgspec.Struct):
    """The whole file. `scenario`: which one was asked for, if one was."""

    version: int
    verdict: RunVerdict
    operations: Operations
    scenario: str | None = None
    title: str = ""
    command: str = ""
    seed: int | None = None
    kvstore: str = ""
    python: str = ""
    nodes: list[str] = []
    workloads: list[str] = []
    doors: list[str] = []
    started: str = ""
    seconds: float = 0.0
    expected: RunVerdict | None = None
    capabilities: list[Capability] = []
    phases: list[Phase] = []
    faults: list[Injected] = []
    skipped: list[Skipped] = []
    checks: list[Check] = []
    vacuous: list[str] = []
    problem: str | None = None


def read_results(path: Path) -> Results:
    """The results in a file. Raises BadResults, also when it cannot be read at all."""
    try:
        if path.stat().st_size > limits.RESULTS_BYTES_MAX:
            raise BadResults(f"{path}: more than {limits.RESULTS_BYTES_MAX:,} bytes")
        results = msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as failed:
        raise BadResults(f"{path}: {failed.strerror or failed}") from failed
    except (msgspec.DecodeError, UnicodeDecodeError) as wrong:
        raise BadResults(f"{path}: {wrong}") from wrong
    if results.version != VERSION:
        raise BadResults(f"{path}: version {results.version}; this kv reads version {VERSION}")
    return results
