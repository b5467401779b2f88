"""Directories as `kv chaos run` leaves them, made from a seed on virtual time: what the report is tested with.

A register store that is correct, asked by a few clients while faults come and go; without a leader, what is asked is
refused or stays open. One bug can be switched on: a leader that was cut off answers reads from before. The checks are
the real ones, run on the history that comes of it.
"""

import heapq
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from kvjepsen import checker
from kvjepsen.checking import agreement, levels, staleness
from kvjepsen.checking.verdict import Result
from kvjepsen.formats import read_history
from kvjepsen.records import FINAL, History, Line, Recorder

S = 1_000_000_000
START = 5_000 * S
NODES = ["n1", "n2", "n3", "n4", "n5"]
PHASES = {"before": (0, 8), "faults": (8, 40), "after": (40, 48), "final": (48, 49)}


class Fault(NamedTuple):
    """From and to in seconds of the run."""

    fault: str
    title: str
    nodes: list[str]
    detail: str
    begins: float
    ends: float
    effects: list[str]


FAULTS = [
    Fault(
        "kill", "SIGKILL for one node", ["n2"], "leader", 10, 14, ["election: term 3 to 4, n1 leads", "n2: another pid"]
    ),
    Fault("pause", "One node is stopped and goes on later", ["n4"], "follower", 16.5, 19, ["no answer from n4"]),
    Fault(
        "partition",
        "Cut off from all others",
        ["n1"],
        "leader alone",
        22,
        28,
        ["election: term 4 to 5, n5 leads", "23 writes refused"],
    ),
    Fault("delay", "All links of one node are slow", ["n3"], "80 ms", 31, 36, ["answers of n3: 4 ms to 165 ms"]),
    Fault("clock", "The wall clock jumps", ["n5"], "+2 h", 33, 38, ["alarm clock_drift"]),
]
LEADERS = [("n2", 3, 0.0, 10.0), ("n1", 4, 10.9, 22.6), ("n5", 5, 23.4, 49.0)]


def write_run(directory: Path, kind: str = "passing", *, seed: int = 7, rate: float = 60.0) -> Path:
    """`kind`: passing, stale (a linearizable read shows an old value) or vacuous (nothing succeeds under faults)."""
    made = _Made(seed, kind, rate)
    (directory / "history.jsonl").write_bytes(made.sink.getvalue())
    history = read_history(directory / "history.jsonl")
    (directory / "results.json").write_text(json.dumps(_results(kind, seed, made, history)), encoding="utf-8")
    return directory


class _Made:
    """The history, as it happens."""

    def __init__(self, seed: int, kind: str, rate: float) -> None:
        self.chance = random.Random(seed)
        self.kind, self.rate = kind, rate
        self.sink = io.BytesIO()
        self.recorder = Recorder(self.sink, lambda: START + self.now)
        self.now = 0
        self.due: list[tuple[int, int, Callable[[], None]]] = []
        self.keys: dict[str, list[tuple[int, Any, int, str]]] = {}
        self.pending: dict[str, int] = {}
        self.revision = 100
        self.written = 0
        self.processes = 100
        for client in range(8):
            self.at(client * 0.01, lambda client=client: self.ask(f"c{client}", self.process()))
        for node in NODES:
            for tick in range(0, 48 * 4):
                self.at(tick / 4 + NODES.index(node) / 50, lambda node=node: self.observe(node))
        for fault in FAULTS:
            self.at(fault.begins, lambda fault=fault: self.recorder.fault(fault.fault, fault.detail, fault.nodes[0]))
        self.at(48, self.finish)
        while self.due:
            self.now, _, action = heapq.heappop(self.due)
            action()

    def at(self, second: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.due, (round(second * S), len(self.due) + self.processes * 1_000, action))
        self.processes += 1

    def later(self, ms: float, action: Callable[[], None]) -> None:
        self.at((self.now + ms * 1e6) / S, action)

    def process(self) -> int:
        self.processes += 1
        return self.processes

    def leader(self) -> str | None:
        return next((node for node, _, begins, ends in LEADERS if begins <= self.now / S < ends), None)

    def is_down(self, node: str) -> bool:
        return any(f.begins <= self.now / S < f.ends for f in FAULTS[:2] if node in f.nodes)

    def cut_off(self, node: str) -> bool:
        return node == "n1" and FAULTS[2].begins <= self.now / S < FAULTS[2].ends

    def observe(self, node: str) -> None:
        if self.is_down(node):
            self.recorder.observe(node, {"role": None})
            return
        term = max((term for _, term, begins, _ in LEADERS if begins <= self.now / S), default=3)
        if self.cut_off(node):
            term = 4
        leads = any(n == node and t == term and b <= self.now / S < e for n, t, b, e in LEADERS)
        role = "leader" if leads else "follower" if self.leader() or self.cut_off(node) else "candidate"
        self.recorder.observe(node, {"term": term, "role": role, "commit_index": self.revision, "reachable": True})

    def ask(self, client: str, process: int) -> None:
        """One operation of a client, and the next one after it."""
        if self.now >= 48 * S:
            return
        workload, level = self.chance.choice([("register", "quorum")] * 4 + [("levels", "one"), ("levels", "all")])
        f = self.chance.choice(["read", "read", "write", "cas" if level == "quorum" else "read"])
        key = f"{workload}/{int(self.now / S) // 8 * 4 + self.chance.randint(0, 3)}"
        node = self.chance.choice([node for node in NODES if not self.is_down(node)])
        self.written += f != "read"
        value = None if f == "read" else self.written if f == "write" else [self.current(key)[1], self.written]
        bound = 500 if f == "read" and level == "one" else None
        line = self.recorder.invoke(
            process, f, key=key, value=value, client=client, node=node, level=level, max_staleness_ms=bound
        )
        took = 10 ** self.chance.gauss(0.5, 0.22) * (25 if node == "n3" and 31 <= self.now / S < 36 else 1)
        lonely = self.leader() is None or (self.cut_off(node) and level != "one")
        vacuous = self.kind == "vacuous" and 8 * S <= self.now < 40 * S
        if self.kind == "stale" and self.cut_off(node) and f == "read" and level == "quorum":
            self.later(took, lambda: self.answer_from(line, client, 22 * S))
        elif lonely or vacuous or (level == "all" and any(map(self.is_down, NODES))):
            if self.chance.random() < 0.8:
                self.later(
                    took, lambda: self.refuse(line, client, "members_unreachable" if level == "all" else "no_quorum")
                )
            else:
                self.later(1_000 + took, lambda: self.give_up(line, client))
        else:
            self.later(took * self.chance.uniform(0.2, 0.9), lambda: self.apply(line, client, took * 0.1))

    def current(self, key: str, until: int | None = None) -> tuple[int, Any, int]:
        held = [each for each in self.keys.get(key, []) if until is None or each[0] <= until]
        return held[-1][:3] if held else (0, None, 0)

    def shown_at_one(self, key: str) -> tuple[int, Any, int]:
        """What a node that is a little behind has: never older than the last write at ALL."""
        held = self.keys.get(key, [])
        behind = self.now - self.chance.randint(0, 300_000_000)
        kept = [e for at, e in enumerate(held) if e[0] <= behind or any(later[3] == "all" for later in held[at:])]
        return kept[-1][:3] if kept else (0, None, 0)

    def apply(self, line: Line, client: str, rest_ms: float) -> None:
        """It takes effect now; the answer comes a little later."""
        key = str(line.key)
        _, value, revision = self.current(key)
        if line.level == "all" and self.pending.get(key):
            self.later(2, lambda: self.apply(line, client, rest_ms))
        elif line.f == "read":
            if line.level == "one":
                _, value, revision = self.shown_at_one(key)
            shown = {"value": value, "revision": revision or None}
            self.later(rest_ms, lambda: self.end(line, client, lambda: self.recorder.ok(line, **shown)))
        elif line.f == "cas" and value != line.value[0]:
            self.later(rest_ms, lambda: self.refuse(line, client, "precondition_failed"))
        elif line.level == "one":
            # Its receipt is read by the same process, before that asks for something else.
            self.recorder.info(line)
            self.pending[key] = self.pending.get(key, 0) + 1
            self.later(self.chance.uniform(5, 40), lambda: self.hand_over(line, client))
        else:
            at = self.put(key, line.value[1] if line.f == "cas" else line.value, str(line.level))
            self.later(rest_ms, lambda: self.end(line, client, lambda: self.recorder.ok(line, revision=at)))

    def hand_over(self, line: Line, client: str) -> None:
        self.pending[str(line.key)] -= 1
        if self.chance.random() < 0.1:
            self.end(line, client, lambda: self.recorder.fail(line, "superseded"))
            return
        at = self.put(str(line.key), line.value)
        self.end(line, client, lambda: self.recorder.ok(line, revision=at))

    def put(self, key: str, value: Any, level: str = "one") -> int:
        self.revision += 1
        self.keys.setdefault(key, []).append((self.now, value, self.revision, level))
        return self.revision

    def answer_from(self, line: Line, client: str, moment: int) -> None:
        _, value, revision = self.current(str(line.key), moment)
        self.end(line, client, lambda: self.recorder.ok(line, value=value, revision=revision or None))

    def refuse(self, line: Line, client: str, error: str) -> None:
        self.end(line, client, lambda: self.recorder.fail(line, error))

    def give_up(self, line: Line, client: str) -> None:
        self.recorder.info(line, "timeout")
        self.ask_again(client, self.process())

    def end(self, line: Line, client: str, write: Callable[[], object]) -> None:
        write()
        self.ask_again(client, int(line.process))

    def ask_again(self, client: str, process: int) -> None:
        self.later(self.chance.expovariate(self.rate / 8) * 1_000, lambda: self.ask(client, process))

    def finish(self) -> None:
        """Wait for what is open, then read every key."""
        for at, key in enumerate(sorted(self.keys)):
            self.at(48.9 + at / 1_000, lambda key=key: self.read_finally(key))

    def read_finally(self, key: str) -> None:
        line = self.recorder.invoke(self.process(), "read", key=key, client=FINAL, node="n3", level="quorum")
        _, value, revision = self.current(key)
        self.later(3, lambda: self.recorder.ok(line, value=value, revision=revision or None))


def _results(kind: str, seed: int, made: _Made, history: History) -> dict[str, Any]:
    checks = _checks(history)
    vacuous = ["0 operations succeeded while faults were active; at least 10 are needed"] if kind == "vacuous" else []
    invalid = any(check["verdict"] == "invalid" for check in checks)
    faults = [
        {
            **{name: value for name, value in fault._asdict().items() if name not in ("begins", "ends")},
            "from_ns": START + round(fault.begins * S),
            "to_ns": START + round(fault.ends * S),
        }
        for fault in FAULTS
    ]
    if kind == "vacuous":
        faults[1]["effects"] = []
    return {
        "version": 1,
        "verdict": "failed" if invalid else "vacuous" if vacuous else "passed",
        "title": "Registers and levels while nodes are killed, paused, cut off and slowed down",
        "command": f"kv chaos run --nodes 5 --workload register,levels --nemesis all --time 48 --seed {seed}",
        "seed": seed,
        "kvstore": "0.1.0",
        "python": "3.11.7",
        "nodes": NODES,
        "workloads": ["register", "levels"],
        "started": "2026-11-25T12:00:00Z",
        "seconds": 49.2,
        "expected": "passed",
        "capabilities": [
            {"name": "links", "available": True, "why": ""},
            {"name": "nftables", "available": False, "why": "nft is not installed"},
        ],
        "phases": [
            {"name": name, "from_ns": START + begins * S, "to_ns": START + ends * S}
            for name, (begins, ends) in PHASES.items()
        ],
        "operations": _operations(history),
        "faults": faults,
        "skipped": [{"fault": "loss", "why": "nftables is not installed"}],
        "checks": checks,
        "vacuous": vacuous,
        "problem": None,
    }


def _operations(history: History) -> dict[str, Any]:
    def counts(keep: Callable[[Any], bool]) -> dict[str, int]:
        return {
            outcome: sum(op.outcome == outcome and keep(op) for op in history.operations)
            for outcome in ("ok", "fail", "info")
        }

    def ok(begins: int, ends: int) -> int:
        low, high = START + begins * S, START + ends * S
        return sum(op.outcome == "ok" and low <= (op.t_ns or 0) < high for op in history.operations)

    return {
        **counts(lambda op: True),
        "by_workload": {w: counts(lambda op, w=w: op.key.startswith(w)) for w in ("register", "levels")},
        "ok_by_phase": {name: ok(*PHASES[name]) for name in ("before", "faults", "after")},
    }


def _checks(history: History) -> list[dict[str, Any]]:
    registers = history.select(lambda op: str(op.key).startswith("register"))
    weaker = history.select(lambda op: str(op.key).startswith("levels"))
    found = checker.check(registers, "kv", checker.Bounds(seconds_max=2.0))
    witness = found.witness
    linearizable = {
        "workload": "register",
        "check": "linearizable",
        "promise": "All clients see one order of writes and reads, in which nothing that was acknowledged is undone.",
        "verdict": str(found.verdict),
        "counts": {"keys": found.keys, "ops": found.ops},
        "broken": len(found.failed),
        "findings": [
            {
                "kind": "not linearizable",
                "problem": f"No order explains these {len(witness.ops)} operations on one key.",
                "key": witness.key,
                "ops": list(witness.ops),
            }
        ]
        if witness is not None
        else [],
    }
    return [
        linearizable,
        _check("levels", "staleness", "A read at ONE is never older than it asked for.", staleness.check(weaker)),
        _check("levels", "levels", "What ALL wrote, ONE shows; what ONE wrote, ALL shows.", levels.check(weaker)),
        _check(None, "agreement", "One leader a term, and terms never go back.", agreement.check(history.observations)),
    ]  # fmt: skip


def _check(workload: str | None, name: str, promise: str, result: Result) -> dict[str, Any]:
    own = {n: getattr(result, n) for n in result.__dataclass_fields__ if n not in Result.__dataclass_fields__}
    findings = [{"kind": f.kind, "problem": f.problem, "key": None, "ops": list(f.ops)} for f in result.findings]
    return {
        "workload": workload,
        "check": name,
        "promise": promise,
        "verdict": str(result.verdict),
        "counts": own,
        "broken": result.broken,
        "findings": findings,
    }
