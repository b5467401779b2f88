"""Many runs in one folder: every scenario, as many rounds as wanted, each with seeds of its own.

    OUT/NAME-SEED/      one run (runners/live.py)
    OUT/summary.json    all of them together

A run whose results.json is there is not made again, so what was interrupted goes on where it stopped.
"""

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from kvjepsen.plan import Plan, read_scenario
from kvjepsen.report.results import RESULTS
from kvjepsen.runners.live import Status, run

SUMMARY: Final = "summary.json"
POWER_LOSSES: Final = ("power",)

_SEEDS_PER_ROUND: Final = 1_000


@dataclass
class Summary:
    """Counts over all runs. `unexpected`: folders of runs that did not end as their scenario expects."""

    runs: int = 0
    seconds: float = 0.0
    operations: Counter[str] = field(default_factory=Counter)
    keys: int = 0
    undecided: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    nodes: Counter[str] = field(default_factory=Counter)
    skipped: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)

    def add(self, name: str, document: dict[str, Any]) -> None:
        """One more run, by its results.json."""
        self.runs += 1
        self.seconds += document["seconds"]
        for outcome in ("ok", "fail", "info"):
            self.operations[outcome] += document["operations"][outcome]
        for check in document["checks"]:
            if check["check"] == "linearizable":
                self.keys += check["counts"]["keys"]
                self.undecided += check["counts"]["undecided"]
        self.verdicts[document["verdict"]] += 1
        self.faults.update(injury["fault"] for injury in document["faults"])
        self.nodes[str(len(document["nodes"]))] += 1
        self.skipped.update(skipped["fault"] for skipped in document["skipped"])
        if document["verdict"] != document["expected"]:
            self.unexpected.append(name)

    def to_json(self) -> dict[str, Any]:
        """summary.json."""
        return {
            "runs": self.runs,
            "seconds": round(self.seconds),
            "operations_checked": self.operations.total(),
            "operations": dict(self.operations),
            "keys": self.keys,
            "keys_unknown": self.undecided,
            "keys_unknown_share": round(self.undecided / self.keys, 6) if self.keys else 0.0,
            "verdicts": dict(self.verdicts),
            "injections": self.faults.total(),
            "kinds": len(self.faults),
            "power_losses": sum(self.faults[name] for name in POWER_LOSSES),
            "faults": dict(sorted(self.faults.items())),
            "nodes": dict(sorted(self.nodes.items())),
            "skipped": dict(sorted(self.skipped.items())),
            "unexpected": self.unexpected,
        }


def plans(names: Sequence[str], rounds: int, over: dict[str, Any]) -> Iterator[tuple[str, Plan]]:
    """Every run with its folder's name; each round has other seeds. Raises BadPlan."""
    for turn in range(rounds):
        for name in names:
            plan = read_scenario(name, over)
            seed = plan.seed + turn * _SEEDS_PER_ROUND
            yield f"{Path(name).stem}-{seed}", msgspec.structs.replace(plan, seed=seed)


def suite(
    out: Path,
    wanted: Sequence[tuple[str, Plan]],
    *,
    each: Callable[[str, dict[str, Any]], None] = lambda name, document: None,
    watch: Callable[[Status], None] = lambda status: None,
    say: Callable[[str], None] = lambda line: None,
) -> Summary:
    """Make the runs that are not there yet, one after the other; `each` hears of every one, old or new."""
    summary = Summary()
    for name, plan in wanted:
        folder = out / name
        if (folder / RESULTS).exists():
            document = json.loads((folder / RESULTS).read_text())
        else:
            shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run has left
            document = run(plan, folder, watch=watch, say=say).document
        summary.add(name, document)
        each(name, document)
        (out / SUMMARY).write_text(json.dumps(summary.to_json(), indent=1) + "\n")
    return summary
