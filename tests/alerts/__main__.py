"""Makes every alert fire once on a real cluster, and resolve, and prints when.

    python -m tests.alerts --out DIR [--factor 60] [--only KvNoLeader]

The rules are those of cluster/deploy/prometheus/alerts.yml, their durations (`for`, ranges) shortened by the factor; a
Prometheus of the distribution scrapes every second. Exit code 0 if each fired and resolved.
"""

import argparse
import base64
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from kvcluster.lifecycle import bring_up, purge
from kvjepsen import faulty
from tests.alerts import prometheus
from tests.alerts.lab import Lab
from tests.alerts.rules import hastened, rules, seconds
from tests.alerts.scenarios import SCENARIOS, Scenario, backup_dir, key_file

# Until the fault is seen, beside the alert's own `for`; a busy machine is slow.
SEEN_S_MAX: Final = 60.0
RESOLVED_S_MAX: Final = 90.0
FACTOR: Final = 60.0


class Outcome(NamedTuple):
    """What became of one alert: seconds from the fault to firing, and from the beginning of the healing to its end."""

    alert: str
    fault: str
    fired_s: float | None
    resolved_s: float | None
    problem: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.alerts", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a directory for the clusters and the table")
    parser.add_argument("--factor", type=float, default=FACTOR)
    parser.add_argument("--only", action="append", default=[], help="of one alert; may be repeated")
    given = parser.parse_args(arguments)
    outcomes = run(given.out, given.factor, given.only)
    table = page(outcomes, given.factor)
    (given.out / "alerts.md").write_text(table, encoding="utf-8")
    print(table, end="")
    return 0 if outcomes and all(outcome.resolved_s is not None for outcome in outcomes) else 1


def run(out: Path, factor: float, only: Sequence[str] = ()) -> list[Outcome]:
    """What became of each alert, or of those in `only`. Raises RuntimeError without a Prometheus."""
    out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for of in ("three", "one"):
        chosen = [each for each in SCENARIOS if each.of == of and (not only or set(only) & set(each.alerts))]
        if chosen:
            with cluster(out / of, of) as lab, scraped(out / f"{of}-prometheus", lab, factor) as watching:
                for scenario in chosen:
                    outcomes += made_to_fire(scenario, lab, watching, factor)
    return outcomes


def made_to_fire(scenario: Scenario, lab: Lab, watching: prometheus.Prometheus, factor: float) -> list[Outcome]:
    """Strike, wait until all of its alerts fire, heal, wait until none does."""
    fired: dict[str, float] = {}
    resolved: dict[str, float] = {}
    problem = ""
    patience = max(seconds(rule["for"]) for rule in rules() if rule["alert"] in scenario.alerts) / factor + SEEN_S_MAX
    try:
        watching.wait(scenario.alerts, "inactive", RESOLVED_S_MAX)
        began = time.monotonic()
        with scenario.strike(lab):
            struck_s = time.monotonic() - began
            fired = {name: at + struck_s for name, at in watching.wait(scenario.alerts, "firing", patience).items()}
            began = time.monotonic()
        healed_s = time.monotonic() - began
        resolved = {
            name: at + healed_s for name, at in watching.wait(scenario.alerts, "inactive", RESOLVED_S_MAX).items()
        }
    except (TimeoutError, AssertionError, OSError) as failed:
        problem = str(failed)
    for name in scenario.alerts:
        told = f"{name}: fired {fired.get(name, float('nan')):.1f} s, resolved {resolved.get(name, float('nan')):.1f} s"
        print(told + (f"; {problem}" if problem else ""), file=sys.stderr, flush=True)
    return [Outcome(name, scenario.fault, fired.get(name), resolved.get(name), problem) for name in scenario.alerts]


@contextmanager
def cluster(directory: Path, of: str) -> Iterator[Lab]:
    """Three nodes, or one with TLS, backups and encryption."""
    directory.mkdir(parents=True)
    env = {"KV_SNAPSHOT_LOG_BYTES": str(256 << 10), "KV_LOG_KEEP_BYTES": str(64 << 10)}
    if of == "one":
        backup_dir(directory).mkdir()
        keys = key_file(directory)
        keys.write_text(f"20261130 {base64.b64encode(os.urandom(32)).decode()}\n")
        keys.chmod(0o600)
        env |= {
            "KV_BACKUP_DIR": str(backup_dir(directory)),
            "KV_BACKUP_EVERY_S": "2",
            "KV_ENCRYPTION_KEY_FILE": str(keys),
        }
    made = bring_up(directory, 3 if of == "three" else 1, 120.0, env=env, tls=of == "one", program=faulty.PROGRAM)
    try:
        yield Lab(made)
    finally:
        purge(made)


@contextmanager
def scraped(directory: Path, lab: Lab, factor: float) -> Iterator[prometheus.Prometheus]:
    """A Prometheus that has scraped every node once."""
    targets = [urlsplit(endpoint).netloc for endpoint in lab.cluster.endpoints]
    tls = lab.cluster.topology.tls
    with prometheus.running(directory, targets, hastened(factor), None if tls is None else tls.ca) as watching:
        watching.wait_scraped(len(targets), RESOLVED_S_MAX)
        watching.wait([rule["alert"] for rule in rules()], "inactive", RESOLVED_S_MAX)
        yield watching


def page(outcomes: Sequence[Outcome], factor: float) -> str:
    """The table."""
    lines = [f"Durations {factor:g} times shorter.", ""]
    lines += ["| alert | fault | fired after | resolved after |", "|---|---|---|---|"]
    for each in outcomes:
        fired = "never" if each.fired_s is None else f"{each.fired_s:.1f} s"
        resolved = each.problem or "never" if each.resolved_s is None else f"{each.resolved_s:.1f} s"
        lines.append(f"| {each.alert} | {each.fault} | {fired} | {resolved} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
