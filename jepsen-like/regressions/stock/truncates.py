"""Acknowledgements of a follower come late; the leader sends again what is there already; the follower cuts its log.

First: what was acknowledged to the client is lost when the leader then fails. Second: what a follower had applied is
cut. No message is reordered, repeated by the network, or older than one that arrived before.
"""

from regressions.stock.bench import Bench, verdict

VALUE = "v" * 40_000  # two of them fill a batch of the default 64 KiB
BEFORE = 2  # index of the last entry before the writes: the leader's no-op


def five_writes(bench: Bench, cut: set[str]) -> list[list[int]]:
    """Five writes, a message each, while the acknowledgements of b are under way."""
    answers = []
    for number in range(5):
        answers.append(bench.nodes["a"].write(f"k{number}", VALUE))
        bench.advance(0.25, cut=cut, held={("b", "a")})
    return answers


def first_acknowledgement_arrives(bench: Bench) -> None:
    """Of b's acknowledgements those up to the first write's; the leader now sends the rest of its log again."""
    arrived = 0
    while arrived < BEFORE + 1:
        arrived = bench.wires["b", "a"][0]["next_node_idx"] - 1
        bench.deliver(("b", "a"))
    bench.now += 0.15
    bench.tick("a")


def acknowledged_and_lost() -> tuple[int, int]:
    bench = Bench("a", "b", "c")
    bench.elect("a")
    answers = five_writes(bench, cut={"c"})
    first_acknowledgement_arrives(bench)
    while bench.deliver(("b", "a")):
        pass
    bench.tick("a")
    acknowledged = sum(answer == [0] for answer in answers)
    bench.deliver(("a", "b"))
    bench.wires.clear()  # a fails, with what was still to be sent
    bench.elect("b", cut={"a"})
    bench.advance(1.0, "b", "c", cut={"a"})
    return acknowledged, acknowledged - len(bench.nodes["b"].data)


def applied_and_cut() -> tuple[int, int]:
    bench = Bench("a", "b", "c")
    bench.elect("a")
    five_writes(bench, cut=set())
    bench.advance(0.5, held={("b", "a")})
    first_acknowledgement_arrives(bench)
    bench.deliver(("a", "b"))
    return bench.nodes["b"].raftLastApplied, bench.nodes["b"].last()


acknowledged, lost = acknowledged_and_lost()
applied, last = applied_and_cut()
verdict(acknowledged=acknowledged, lost=lost, applied_index=applied, last_index=last)
