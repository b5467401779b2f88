"""This store and others on one machine: the same work, in turns, in one run.

    python -m tests.bench.compare --out DIR [--page docs/benchmarks.md]

All clusters run at once, each of three nodes with an fsync before it acknowledges, on loopback; one works at a time,
the others are idle (not stopped: what they use at rest is in the table). In each round each work is done by one system
after the other, every round beginning with another one. 10,000 keys of 100 bytes are there before. Load goes to the
leader's node. Generators are those of tests/bench/generators.

What is measured is written to DIR at once (rows.jsonl); the same command goes on where it was interrupted. A system
that this machine does not have is named as skipped. The default run takes about a quarter of an hour.
"""

import argparse
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.bench import measure, page, plot, report
from tests.bench.clusters import Running
from tests.bench.procs import CORES, NotAvailable
from tests.bench.rows import Rows
from tests.bench.systems import SYSTEMS, System, bench, start
from tests.bench.work import FAILOVER, LOADS, REST, WORKS, Row

WARM = ("put-64", "get-64")
PLOT = "compare.svg"
VERSION = 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the rows")
    parser.add_argument("--page", type=Path, help="page to write the tables into")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3, help="of each load")
    parser.add_argument(
        "--warm", type=int, default=4, help="seconds of put and of get for each system before the first"
    )
    parser.add_argument("--systems", type=_names(SYSTEMS), default=list(SYSTEMS), help=", ".join(SYSTEMS))
    parser.add_argument("--work", type=_names(WORKS), default=list(WORKS), help=", ".join(WORKS))
    parser.add_argument("--data", type=Path, help="where the clusters keep their data: a real disk")
    parser.add_argument("--only-report", action="store_true", help="no measuring: tables of what is there")
    return parser.parse_args()


def _names(known: Any) -> Any:
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        strangers = [name for name in wanted if name not in known]
        if strangers:
            raise argparse.ArgumentTypeError(f"{strangers[0]!r} is none of {', '.join(known)}")
        return [name for name in known if name in wanted]

    return parse


def main() -> int:
    """Measure what is not measured yet, and print the tables."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows = Rows(options.out)
    described = rows.run()
    if described is not None and described["seconds"] != options.seconds:
        _say(f"{options.out} holds a run of {described['seconds']} s a load; give --seconds {described['seconds']}")
        return 2
    if not options.only_report and not _complete(rows, options, described):
        with tempfile.TemporaryDirectory(prefix="kv-compare-", dir=options.data) as directory:
            _run(rows, options, Path(directory))
    _write(rows, options)
    return 0


def _complete(rows: Rows, options: argparse.Namespace, described: dict[str, Any] | None) -> bool:
    """Whether nothing of what is asked for is missing, as far as this machine could do it."""
    skipped = {} if described is None else described["skipped"]
    return described is not None and not any(
        work in described["systems"][system]["works"] and not rows.has(turn, system, work)
        for turn in range(1, options.rounds + 1)
        for system in options.systems
        if system not in skipped
        for work in options.work
        if work != REST
    )


def _run(rows: Rows, options: argparse.Namespace, directory: Path) -> None:
    with ExitStack() as stack:
        clusters: dict[str, Running] = {}
        skipped: dict[str, str] = {}
        systems: dict[str, System] = {}
        resting: dict[str, Row] = {}
        turn = rows.starts() + 1
        for name in options.systems:
            entry = SYSTEMS[name]
            try:
                if entry.cluster in skipped:
                    raise NotAvailable(skipped[entry.cluster])
                if entry.cluster not in clusters:
                    running = start(entry.cluster, directory)
                    stack.callback(running.stop)
                    clusters[entry.cluster] = running
                    resting[entry.cluster] = measure.rest(turn, name, running)
                running = clusters[entry.cluster]
                system = bench(name, running, directory)
                system.preload()
                resting[entry.cluster].setdefault("rss_loaded_mib", measure.rss(running))
                rows.add(resting[entry.cluster] | {"system": name})
                systems[name] = system
                _say(f"{name}: {running.version}, led by node {running.leader().number + 1}")
            except (NotAvailable, OSError) as missing:
                skipped[name] = str(missing)
                if entry.cluster not in clusters:
                    skipped[entry.cluster] = str(missing)
                _say(f"{name}: skipped: {missing}")
        _describe(rows, options, clusters, systems, {name: why for name, why in skipped.items() if name in SYSTEMS})
        _rounds(rows, options, clusters, systems)


def _rounds(rows: Rows, options: argparse.Namespace, clusters: dict[str, Running], systems: dict[str, System]) -> None:
    names = list(systems)
    works = [work for work in options.work if work in LOADS] + [FAILOVER] * (FAILOVER in options.work)
    missing = [
        (turn, work, name)
        for turn in range(1, options.rounds + 1)
        for work in works
        # Each begins a round in its turn.
        for name in names[turn % len(names) :] + names[: turn % len(names)]
        if work in systems[name].works and not rows.has(turn, name, work)
    ]
    for name in names if options.warm and missing else []:
        for work in WARM:
            measure.cell(0, name, work, systems[name], clusters[SYSTEMS[name].cluster], options.warm)
    begun = time.monotonic()
    for done, (turn, work, name) in enumerate(missing):
        row = measure.cell(turn, name, work, systems[name], clusters[SYSTEMS[name].cluster], options.seconds)
        rows.add(row)
        left_s = (time.monotonic() - begun) / (done + 1) * (len(missing) - done - 1)
        _say(f"round {turn}, {work}, {name}: {report.brief(row)} ({left_s / 60:.0f} min to go)")


def _describe(
    rows: Rows,
    options: argparse.Namespace,
    clusters: dict[str, Running],
    systems: dict[str, System],
    skipped: dict[str, str],
) -> None:
    before = rows.run() or {"systems": {}, "skipped": {}}
    known = before["systems"] | {
        name: {
            "version": clusters[SYSTEMS[name].cluster].version,
            "notes": clusters[SYSTEMS[name].cluster].notes,
            "generator": system.generator,
            "works": sorted(system.works),
        }
        for name, system in systems.items()
    }
    rows.describe(
        {
            "version": VERSION,
            "command": _command(options, sys.argv[1:]),
            "seconds": options.seconds,
            "rounds": options.rounds,
            "machine": _machine(options.data),
            "systems": known,
            "skipped": {name: why for name, why in (before["skipped"] | skipped).items() if name not in known},
        }
    )


def _command(options: argparse.Namespace, given: list[str]) -> str:
    """As it was given; where this machine keeps the data is nobody's business."""
    words = ["DIR" if options.data is not None and word == str(options.data) else word for word in given]
    return shlex.join(["python", "-m", "tests.bench.compare", *words])


def _machine(data: Path | None) -> dict[str, str | int]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cores": CORES,
        "cpu": model,
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "filesystem": _filesystem(data or Path(tempfile.gettempdir())),
    }


def _filesystem(path: Path) -> str:
    """The kind of the file system that holds `path`; on one in memory an fsync costs nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    within = [(point, kind) for point, kind in mounts if path.resolve().is_relative_to(point)]
    return max(within, key=lambda mount: len(mount[0]))[1]


def _write(rows: Rows, options: argparse.Namespace) -> None:
    described = rows.run()
    if described is None:
        _say("nothing is measured yet")
        return
    drawn = plot.draw(options.out / PLOT, rows.rows)
    if not drawn:
        _say("no picture: it needs figures, and matplotlib (pip install -e '.[report]')")
    print(report.text(rows.rows, described))
    if options.page is not None:
        picture = page.link(options.page, options.out / PLOT) if drawn else None
        folder = page.link(options.page, options.out)
        page.put_into(options.page, "compare", report.text(rows.rows, described, picture=picture, folder=folder))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        sys.exit(130)
