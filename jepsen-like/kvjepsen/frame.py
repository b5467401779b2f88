"""The frame of the harness's tools: a cluster is started, a run is made against it, and what came out is told.

A tool is `python -m kvjepsen.NAME`. Its exit code is 0 if the run passed, 1 if it failed, 5 if it did too little to
mean anything. The cluster's directory is deleted after a pass, and kept with its logs otherwise.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, Protocol

import click

from kvcluster.lifecycle import purge
from kvcluster.supervisor import Cluster

Verdict = Literal["passed", "failed", "vacuous"]
Progress = Callable[[str], None]

_EXIT_CODES: Final[dict[Verdict, int]] = {"passed": 0, "failed": 1, "vacuous": 5}
_SHOWN: Final = 20


class Told(Protocol):
    """What the frame needs to know of a run."""

    @property
    def verdict(self) -> Verdict: ...

    def rows(self) -> list[tuple[str, str]]:
        """The table of what happened."""
        ...

    def complaints(self) -> Sequence[str]:
        """What is wrong, one line each."""
        ...


@dataclass
class Outcome:
    """A run's own counts are added by its tool. `problem`: why the run could not go on; `findings`: what is wrong."""

    seconds: float = 0.0
    problem: str | None = None
    findings: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """vacuous: too little was done to show anything."""
        if self.problem is not None or self.findings:
            return "failed"
        return "passed" if self.enough() else "vacuous"

    def enough(self) -> bool:
        """Whether the run did what it was for."""
        raise NotImplementedError

    def counts(self) -> list[tuple[str, str]]:
        """What was done, for the table."""
        raise NotImplementedError

    def rows(self) -> list[tuple[str, str]]:
        """The table of what happened."""
        return [
            *self.counts(),
            ("findings", str(len(self.findings))),
            ("time", f"{self.seconds:.0f} s"),
            ("verdict", self.verdict),
        ]

    def complaints(self) -> list[str]:
        """What is wrong, one line each."""
        return self.findings if self.problem is None else [*self.findings, self.problem]


seed_option = click.option("--seed", type=int, default=1, show_default=True)
directory_option = click.option(
    "--dir", "directory", type=click.Path(path_type=Path), help="A new one is made if not given."
)


def say(line: str) -> None:
    """Progress for people."""
    click.echo(line, err=True)


def table(outcome: Told) -> str:
    """The rows, one a line."""
    width = max(len(name) for name, _ in outcome.rows()) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in outcome.rows())


def conduct(
    name: str,
    directory: Path | None,
    start: Callable[[Path], Cluster],
    run: Callable[[Cluster], Coroutine[Any, Any, Told]],
) -> NoReturn:
    """Start a cluster in `directory` (a new one if None), make the run, tell what came out, and exit."""
    where = Path(tempfile.mkdtemp(prefix=f"kv-{name}-")) if directory is None else directory
    cluster: Cluster | None = None
    outcome: Told | None = None
    try:
        cluster = start(where)
        outcome = asyncio.run(run(cluster))
    finally:
        if cluster is None and (where / "cluster.json").exists():
            cluster = Cluster.open(where)
        if cluster is not None and outcome is not None and outcome.verdict == "passed":
            purge(cluster)
        elif cluster is not None:
            cluster.down()
            say(f"data and logs are kept in {where}")
    for line in outcome.complaints()[:_SHOWN]:
        say(line)
    click.echo(table(outcome))
    sys.exit(_EXIT_CODES[outcome.verdict])
