"""Two changes of membership at once, and a restart after one was appended and before it was applied."""

import sys
from typing import Any

from pysyncobj.node import Node

from regressions.stock.bench import Bench, verdict


def two_at_once() -> dict[str, Any]:
    bench = Bench("a", "b", "c", dynamicMembershipChange=True)
    leader = bench.elect("a")
    reasons: list[int] = []
    for name in ("d", "e"):
        leader.addNodeToCluster(  # type: ignore[attr-defined]
            Node(name), callback=lambda _result, reason: reasons.append(reason)
        )
    bench.advance(0.3, "a", cut={"b", "c"})
    committed = leader.raftCommitIndex
    return {
        "denied": len(reasons),
        "uncommitted_changes": leader.last() - committed,
        "others": sorted(node.id for node in leader.otherNodes),
    }


def restart() -> dict[str, Any]:
    bench = Bench("a", "b", "c", directory=sys.argv[1], dynamicMembershipChange=True)
    leader = bench.elect("a")
    leader.addNodeToCluster(Node("d"))  # type: ignore[attr-defined]
    bench.advance(0.3, "a", cut={"b", "c"})
    before = sorted(node.id for node in leader.otherNodes)
    last = leader.last()
    again = bench.start("a")
    bench.tick("a")
    return {
        "others_before": before,
        "entry_survived": again.last() == last,
        "others_after": sorted(node.id for node in again.otherNodes),
    }


verdict(two_at_once=two_at_once(), restart=restart())
