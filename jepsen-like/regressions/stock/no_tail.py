"""A follower lacks three small entries when the leader cuts its log."""

from regressions.stock.bench import Bench, verdict

bench = Bench("a", "b", "c")
leader = bench.elect("a")
for number in range(50):
    leader.write(f"k{number}", "v" * 1_000)
bench.advance(1.0)
behind = bench.nodes["c"].last()
for number in range(3):
    leader.write(f"more-{number}")
bench.advance(0.5, cut={"c"})
leader.forceLogCompaction()
bench.advance(0.5, cut={"c"})
snapshots = sent = 0
for _ in range(10):
    bench.now += 0.15
    bench.tick("a")
    for message in bench.wires["a", "c"]:
        if message.get("serialized"):
            snapshots += message["serialized"][2]
            sent += len(message["serialized"][0])
    bench.settle()
bench.tick("c")
verdict(
    lag_in_entries=leader.last() - behind,
    entries_left_in_the_leaders_log=len(leader.log()),
    snapshots_sent=snapshots,
    snapshot_bytes=sent,
    caught_up=len(bench.nodes["c"].data) == 53,
)
