"""What the engine does in elections, and as a leader that nobody hears: four cases, each on a cluster of its own."""

from typing import Any

from regressions.stock.bench import ELECTION_S, Bench, verdict


def isolated_and_back() -> dict[str, Any]:
    """c loses its messages for 3 s, less than the engine waits before it calls the connection dead."""
    bench = Bench("a", "b", "c")
    leader = bench.elect("a")
    before = leader.raftCurrentTerm
    end = bench.now + 3.0
    while bench.now < end:
        bench.now += 0.05
        bench.tick()
        bench.settle(cut={"c"})
    raised = bench.nodes["c"].raftCurrentTerm - before
    bench.now += ELECTION_S
    bench.tick("c")
    bench.settle()
    return {"terms_raised_alone": raised, "leader_deposed_at_return": not leader.leads}


def alone_for(seconds: float) -> dict[str, Any]:
    """a leads and hears nobody; b and c elect b. A read of a's state is all that the engine offers for reading."""
    bench = Bench("a", "b", "c")
    old = bench.elect("a")
    old.write("k", "old")
    bench.advance(0.5)
    new = bench.elect("b", cut={"a"})
    answers = new.write("k", "new")
    bench.advance(seconds, "b", "c", cut={"a"})
    bench.tick("a")
    return {"leads": old.leads, "newer_acknowledged": answers == [0], "reads": old.data["k"]}


def one_stranger_answers_twice() -> bool:
    """a asks four others for their votes; somebody who is no member at all answers two times."""
    bench = Bench("a", "b", "c", "d", "e")
    bench.now += ELECTION_S
    bench.tick("a")
    bench.wires.clear()
    term = bench.nodes["a"].raftCurrentTerm
    for _ in range(2):
        bench.wires["stranger", "a"].append({"type": "response_vote", "term": term})
        bench.deliver(("stranger", "a"))
    return bench.nodes["a"].leads


def a_higher_term_is_not_told() -> dict[str, Any]:
    """b is in a higher term than the leader a, which goes on sending to it."""
    bench = Bench("a", "b", "c")
    leader = bench.elect("a")
    request = {"type": "request_vote", "term": 9, "last_log_index": 1, "last_log_term": 0}
    bench.wires["stranger", "b"].append(request)
    bench.deliver(("stranger", "b"))
    bench.advance(0.3, "a", cut={"c"})
    return {"term_of_leader": leader.raftCurrentTerm, "term_of_follower": bench.nodes["b"].raftCurrentTerm}


verdict(
    isolated=isolated_and_back(),
    alone_25_s=alone_for(25.0),
    alone_35_s=alone_for(35.0),
    votes={"leads_by_one_stranger": one_stranger_answers_twice()},
    higher_term=a_higher_term_is_not_told(),
)
