"""A follower forwards a command; the leader's answer is lost with its connection, which is there again at once."""

from regressions.stock.bench import Bench, verdict

bench = Bench("a", "b", "c")
bench.elect("a")
answers = bench.nodes["b"].write("k", "v")
bench.tick("b")
bench.deliver(("b", "a"))
bench.tick("a")
lost = [message["type"] for message in bench.wires["a", "b"]]
bench.wires["a", "b"].clear()
bench.advance(120.0)
verdict(
    lost=lost,
    applied_by=[name for name in bench.names if bench.nodes[name].data == {"k": "v"}],
    same_leader=bench.nodes["a"].leads,
    answers_after_two_minutes=answers,
)
