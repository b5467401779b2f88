"""A follower comes back, refuses two heartbeats before the leader has seen the first refusal, and gets two snapshots.

Between them it gets, and applies, what lies behind the snapshot. Then: a node whose dump is gone, while its log begins
behind it.
"""

import os
import sys
from itertools import pairwise
from typing import Any

from regressions.stock.bench import Bench, verdict


def second_snapshot() -> dict[str, Any]:
    bench = Bench("a", "b", "c")
    leader = bench.elect("a")
    answers = [leader.write(f"old-{number}") for number in range(10)]
    bench.advance(1.0, cut={"c"})
    leader.forceLogCompaction()
    bench.advance(0.5, cut={"c"})
    answers += [leader.write(f"new-{number}") for number in range(10)]
    bench.advance(1.0, cut={"c"})
    c = bench.nodes["c"]
    while len(bench.wires["c", "a"]) < 2:  # two heartbeats are refused
        bench.advance(0.05, "a", cut={"b"}, held={("c", "a")})
    applied = []
    for _ in range(2):  # each refusal is answered, and the answer arrives whole
        bench.deliver(("c", "a"))
        bench.now += 0.15
        bench.tick("a")
        to_c = bench.wires["a", "c"]
        while to_c:
            bench.deliver(("a", "c"))
            if not to_c:
                bench.tick("c")
            applied.append((c.raftLastApplied, len(c.data)))
    steps = applied[:1] + [now for before, now in pairwise(applied) if now != before]
    return {"acknowledged": sum(answer == [0] for answer in answers), "applied_index_and_keys": steps}


def dump_is_gone() -> dict[str, Any]:
    bench = Bench("a", directory=sys.argv[1])
    node = bench.nodes["a"]
    answers = [node.write(f"k{number}") for number in range(10)]
    bench.advance(2.0)
    node.forceLogCompaction()
    bench.advance(1.0)
    os.unlink(os.path.join(sys.argv[1], "a.fullDump"))
    again = bench.start("a")
    first = again.log()[0][0]
    bench.advance(2.0)
    return {
        "acknowledged": sum(answer == [0] for answer in answers),
        "log_begins_at": first,
        "starts_and_leads": again.leads,
        "keys": len(again.data),
    }


verdict(second_snapshot=second_snapshot(), dump_is_gone=dump_is_gone())
