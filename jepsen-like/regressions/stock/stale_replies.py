"""A leader for the third time, and alone, gets late answers to what it sent in its first two terms, and counts them.

Five nodes. What b and c say was true when they said it: each held a long log of a's, which later leaders replaced. Two
connections stall, from b and then from c to a; what was sent on them arrives in order, once, and late.
"""

from regressions.stock.bench import Bench, verdict

bench = Bench("a", "b", "c", "d", "e")
a = bench.nodes["a"]
stalled: set[tuple[str, str]] = set()


def lonely_reign(follower: str, cut: set[str]) -> None:
    """The writes of the leader a reach this follower alone, whose answers lie on a connection that stalls."""
    stalled.add((follower, "a"))
    for number in range(8):
        a.write(f"{follower}-{number}")
    bench.advance(0.3, "a", follower, cut=cut, held=stalled)


def replaced_by(leader: str, cut: set[str]) -> None:
    """The others elect `leader`, whose log then takes the place of that of `cut`."""
    bench.elect(leader, cut=cut, held=stalled)
    bench.advance(0.5, leader, held=stalled)


bench.elect("a")
lonely_reign("b", cut={"c", "d", "e"})
replaced_by("c", cut={"a", "b"})
bench.elect("a", held=stalled)
lonely_reign("c", cut={"b", "d", "e"})
replaced_by("d", cut={"a", "c"})
bench.elect("a", held=stalled)
logs_are_equal = all(node.log() == a.log() for node in bench.nodes.values())

answers = a.write("k", "v")
bench.tick("a")
late = [max(message.get("next_node_idx", 0) - 1 for message in bench.wires[wire]) for wire in sorted(stalled)]
for wire in stalled:
    while bench.deliver(wire):
        pass
bench.advance(0.2, "a", cut=bench.names)  # nothing that a sends arrives from now on
index, term = a.log()[-1]
verdict(
    logs_were_equal=logs_are_equal,
    index=index,
    late_answers_say=late,
    acknowledged=answers == [0],
    holders=[name for name, node in bench.nodes.items() if (index, term) in node.log()],
)
