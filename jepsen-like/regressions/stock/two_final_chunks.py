"""A command a little shorter than twice the batch size is replicated in chunks, on a healthy network."""

from regressions.stock.bench import Bench, verdict

BATCH = 2**16  # appendEntriesBatchSizeBytes, by default

bench = Bench("a", "b", "c")
leader = bench.elect("a")
answers = leader.write("k", "v" * (2 * BATCH - 64))
errors: list[str] = []
chunks: list[list[str]] = []
for _ in range(20):
    bench.now += 0.15
    bench.tick("a")
    sent = [message["transmission"] for message in bench.wires["a", "b"] if "transmission" in message]
    if sent:
        chunks.append(sent)
    for peer in ("b", "c"):
        while bench.wires["a", peer]:
            try:
                bench.deliver(("a", peer))
            except Exception as error:
                errors.append(type(error).__name__)
    bench.deliver(("b", "a"), ("c", "a"))
verdict(chunks=chunks[:1], errors=sorted(set(errors)), attempts=len(chunks), acknowledged=answers == [0])
