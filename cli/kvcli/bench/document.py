"""What a measurement says at its end: the document of `-o json` (docs/benchmarks.md), and lines for people."""

from typing import Any, Final

from kvcli.bench.load import Run
from kvcli.bench.tally import percentiles_ms

# Of one core: above it the client itself is what was measured.
BUSY_SHARE: Final = 0.9
_RATES_SHOWN_MAX: Final = 10


def document(run: Run) -> dict[str, Any]:
    """The document. Milliseconds are null where nothing succeeded."""
    plan, tally = run.plan, run.tally
    interval_s, rates = tally.rate()
    return {
        "workload": plan.workload,
        "door": plan.door,
        "level": plan.level,
        "endpoints": list(plan.endpoints),
        "redis_endpoints": list(plan.redis_endpoints),
        "nodes": run.nodes,
        "leader": run.leader,
        "clients": plan.clients,
        "batch": plan.batch,
        "watches": plan.watches,
        "reads_percent": plan.reads_percent,
        "size_bytes": plan.size_bytes,
        "keys": plan.keys,
        "seed": plan.seed,
        "warmup_seconds": plan.warmup_s,
        "seconds": round(tally.seconds, 3),
        "operations": tally.total,
        "operations_per_second": round(tally.total / tally.seconds, 1) if tally.seconds else 0.0,
        "latency_ms": percentiles_ms(tally.headline_s()),
        "by_operation": {
            name: {"operations": tally.operations[name], "latency_ms": percentiles_ms(calls)}
            for name, calls in tally.calls_s.items()
        },
        "errors": [
            {"code": code, "outcome": outcome, "count": count} for (code, outcome), count in tally.errors.most_common()
        ],
        "rate": {"interval_seconds": interval_s, "operations_per_second": rates},
        "client": {"cpu_share": round(tally.cpu_share, 3), "bottleneck": tally.cpu_share >= BUSY_SHARE},
        "keys_left": run.left_behind,
    }


def rows(told: dict[str, Any]) -> list[list[str]]:
    """The document for people: what, and its value. What says nothing about this workload is left out."""
    shown = [
        ["workload", f"{told['workload']}, level {told['level']}, door {told['door']}"],
        ["cluster", f"{told['nodes']} nodes, led by {told['leader'] or 'nobody'}"],
        ["in flight", _in_flight(told)],
        ["keys", f"{told['keys']:,} with {told['size_bytes']:,} bytes each, seed {told['seed']}"],
        ["seconds", f"{told['seconds']:.2f} after {told['warmup_seconds']:g} of warm-up"],
        ["operations", f"{told['operations']:,}"],
        ["operations/s", f"{told['operations_per_second']:,.0f}"],
    ]
    shown += _latencies("", told["latency_ms"])
    for name, each in told["by_operation"].items():
        if each["latency_ms"] != told["latency_ms"]:
            shown += _latencies(f"{name} ", each["latency_ms"])
    shown += [
        [f"errors: {each['code']}", f"{each['count']:,}, outcome {each['outcome'] or 'that of a read'}"]
        for each in told["errors"]
    ] or [["errors", "none"]]
    shown += _over_time(**told["rate"])
    limit = ": it is the limit" if told["client"]["bottleneck"] else ""
    shown.append(["this process", f"{told['client']['cpu_share']:.0%} of a core{limit}"])
    return shown


def _over_time(interval_seconds: float, operations_per_second: list[float]) -> list[list[str]]:
    every = -(-len(operations_per_second) // _RATES_SHOWN_MAX)
    if not every:
        return []
    parts = [operations_per_second[at : at + every] for at in range(0, len(operations_per_second), every)]
    text = " ".join(f"{sum(part) / len(part):.0f}" for part in parts)
    return [[f"/s, every {interval_seconds * every:g} s", text]]


def bottleneck(told: dict[str, Any]) -> str | None:
    """The warning that this process, not the cluster, set the rate."""
    if not told["client"]["bottleneck"]:
        return None
    return (
        f"this process used {told['client']['cpu_share']:.0%} of a core: the rate is its own limit, the cluster may do "
        "more; --door batch or a second process beside it tell"
    )


def _in_flight(told: dict[str, Any]) -> str:
    text = f"{told['clients']:,} calls"
    if told["workload"] == "batch":
        text += f" of {told['batch']:,} operations"
    if told["watches"]:
        text += f", {told['watches']:,} watches"
    return text + (f", {told['reads_percent']} % gets" if told["workload"] in ("mixed", "batch") else "")


def _latencies(before: str, latency_ms: dict[str, float | None]) -> list[list[str]]:
    return [
        [f"{before}{'p99.9' if name == 'p999' else name} ms", "-" if value is None else f"{value:.3f}"]
        for name, value in latency_ms.items()
    ]
