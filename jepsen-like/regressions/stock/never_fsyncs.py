"""Three nodes with journals take a write and acknowledge it; every call that could make a file durable is counted."""

import mmap
import os
import sys
from typing import Any

calls: list[str] = []


class CountedMmap(mmap.mmap):
    def flush(self, *arguments: Any) -> None:
        calls.append("mmap.flush")
        super().flush(*arguments)


def counted(name: str) -> Any:
    real = getattr(os, name)

    def call(*arguments: Any) -> Any:
        calls.append(name)
        return real(*arguments)

    return call


for name in ("fsync", "fdatasync", "sync"):
    setattr(os, name, counted(name))
mmap.mmap = CountedMmap  # type: ignore[misc]

from regressions.stock.bench import Bench, verdict  # noqa: E402 - it imports the engine, which must find the above

bench = Bench("a", "b", "c", directory=sys.argv[1])
leader = bench.elect("a")
answers = leader.write("k", "v")
bench.advance(2.0)
before = list(calls)
for node in bench.nodes.values():
    node._doDestroy()
verdict(
    acknowledged=answers == [0],
    on_every_node=all(node.data == {"k": "v"} for node in bench.nodes.values()),
    synced_by_then=before,
    synced_at_an_orderly_end=sorted(set(calls)),
)
