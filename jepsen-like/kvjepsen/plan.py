"""What a run is to do: nodes, workloads, faults, time, seed. From options, or from a scenario's file.

title = "The leader dies again and again"
nodes = 5
workloads = ["register", "append"]
faults = ["kill-leader"]
seconds = 20
seed = 4
rate_hz = 200
expected = "passed"

A fault named `kill+delay` is two that overlap: one on nodes, and one on the network. With `doors = ["http", "redis"]`
every other client speaks Redis, where its workload can.
"""

import shlex
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from kvjepsen.nemesis import FAULTS, cannot_overlap, parts
from kvjepsen.workloads import DOORS, HTTP, WORKLOADS, speaking
from kvstore import limits
from kvstore.errors import LocalError

SCENARIOS: Final = Path(__file__).parent / "scenarios"

DEFAULT_WORKLOADS: Final = ("register", "set", "append", "counter", "levels", "mixed")
DEFAULT_FAULTS: Final = (
    "kill",
    "kill-leader",
    "pause-leader",
    "halves",
    "isolate-leader",
    "one-way",
    "delay",
    "stall",
    "slow-fsync",
    "transfer",
)


class BadPlan(LocalError):
    """A scenario or an option that does not make sense."""

    exit_code = 2


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`rate_hz` operations a second, over all workloads. `expected`: what the verdict has to be, of a mutant say.

    `held_disks`: power is lost by nodes that hold back what is not synced, also where images could be mounted. `doors`:
    the ways to the nodes that clients use by turns; a workload that knows only some of them uses those. `sealed`: every
    door speaks TLS, auth is enabled, and the nodes encrypt what they keep. `scenario`: by which name it was asked for;
    empty where none was named.
    """

    title: str = ""
    nodes: int = 5
    workloads: tuple[str, ...] = DEFAULT_WORKLOADS
    faults: tuple[str, ...] = DEFAULT_FAULTS
    seconds: float = 60.0
    seed: int = 1
    rate_hz: float = 300.0
    expected: Literal["passed", "failed"] = "passed"
    held_disks: bool = False
    doors: tuple[str, ...] = (HTTP,)
    sealed: bool = False
    scenario: str = ""

    def checked(self) -> "Plan":
        """Itself. Raises BadPlan."""
        kinds = [part for name in self.faults for part in parts(name)]
        every: tuple[tuple[str, Sequence[str], Collection[str]], ...] = (
            ("workload", self.workloads, WORKLOADS),
            ("fault", kinds, FAULTS),
            ("door", self.doors, DOORS),
        )
        for what, names, known in every:
            for name in names:
                if name not in known:
                    raise BadPlan(f"there is no {what} {name!r}; there are {', '.join(known)}")
        for what, names in (("workload", self.workloads), ("fault", self.faults), ("door", self.doors)):
            if len(set(names)) < len(names):
                raise BadPlan(f"a {what} is named twice")
        for name in self.faults:
            if why := cannot_overlap(name):
                raise BadPlan(f"{name}: {why}")
        if not self.workloads or not self.doors:
            raise BadPlan(f"name at least one {'door' if self.workloads else 'workload'}")
        mute = [name for name in self.workloads if name not in speaking(self.workloads, self.doors)]
        if mute:
            able = ", ".join(speaking(WORKLOADS, self.doors))
            raise BadPlan(f"{', '.join(mute)}: not through the door {', '.join(self.doors)}; {able} can")
        if not 1 <= self.nodes <= limits.MEMBERS_MAX:
            raise BadPlan(f"{self.nodes} nodes: 1 to {limits.MEMBERS_MAX} are possible")
        if not 1 <= self.seconds <= limits.CHAOS_RUN_S_MAX:
            raise BadPlan(f"{self.seconds:g} s: a run takes 1 to {limits.CHAOS_RUN_S_MAX:,} seconds")
        if not 0 < self.rate_hz <= limits.CHAOS_RATE_HZ_MAX:
            raise BadPlan(f"{self.rate_hz:g} operations a second: up to {limits.CHAOS_RATE_HZ_MAX:,} are possible")
        return self

    @property
    def name(self) -> str:
        """The title, or what is done."""
        counts = (self.nodes, "node"), (len(self.workloads), "workload"), (len(self.faults), "kind")
        told = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts]
        faults = f"{told[2]} of faults" if self.faults else "no faults"
        return self.title or f"{told[0]}, {told[1]}, {faults}"

    def command(self, endpoints: Sequence[str] = ()) -> str:
        """What replays it, on a cluster that runs already if its endpoints are given."""
        faults = ",".join(self.faults) or "none"
        held = " --held-disks" if self.held_disks else ""
        doors = "" if self.doors == (HTTP,) else f" --door {','.join(self.doors)}"
        sealed = " --sealed" if self.sealed else ""
        there = f" --endpoints {shlex.quote(','.join(endpoints))}" if endpoints else ""
        return (
            f"kv chaos run --nodes {self.nodes} --workload {','.join(self.workloads)} --nemesis {faults} "
            f"--time {self.seconds:g} --seed {self.seed} --rate {self.rate_hz:g}{held}{doors}{sealed}{there}"
        )


def scenario_names() -> list[str]:
    """Those that come with the harness."""
    return sorted(path.stem for path in SCENARIOS.glob("*.toml"))


def scenario_titles() -> dict[str, str]:
    """The same, each with the sentence that says what happens in it."""
    return {name: read_scenario(name, {}).title for name in scenario_names()}


def is_file(name: str) -> bool:
    """Whether a scenario of this name is a file of somebody's own."""
    return name.endswith(".toml")


def read_scenario(name: str, over: Mapping[str, Any]) -> Plan:
    """The scenario of that name, or in that file, with some of its values replaced. Raises BadPlan."""
    own = is_file(name)
    path = Path(name) if own else SCENARIOS / f"{name}.toml"
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        known = "" if own else f"; there are {', '.join(scenario_names())}"
        raise BadPlan(f"there is no {'file' if own else 'scenario'} {name!r}{known}") from None
    except (OSError, ValueError) as broken:
        raise BadPlan(f"{path} cannot be read: {broken}") from broken
    try:
        return msgspec.convert({**document, **over, "scenario": path.stem}, Plan).checked()
    except msgspec.ValidationError as wrong:
        raise BadPlan(f"{path}: {wrong}") from wrong
