"""Fact 4: replies carry no term; a stale one after a re-election commits entries that no other replica holds.

Engine: `SyncObj.__onMessageReceived` (next_node_idx) counts any answer that arrives while it leads.
Here: R4; `Member._receive_answer` drops answers of another term, `AppendReply` carries term and number.
"""

from pathlib import Path

from kvstore.consensus import messages as wire
from regressions.published import published
from regressions.schedules import advance, elect, settle
from tests.support.lab import Lab


def test_the_published_engine_acknowledges_what_the_leader_alone_holds(tmp_path: Path) -> None:
    found = published("stale_replies", tmp_path)
    assert found["logs_were_equal"]
    assert min(found["late_answers_say"]) >= found["index"]
    assert found["acknowledged"]
    assert found["holders"] == ["a"]


def test_here_they_count_for_nothing() -> None:
    lab = Lab("a", "b", "c", "d", "e")
    a = lab.nodes["a"]
    stalled: set[tuple[str, str]] = set()

    def lonely_reign(follower: str, cut: set[str]) -> None:
        stalled.add((follower, "a"))
        for number in range(8):
            a.propose(b"%s-%d" % (follower.encode(), number))
            settle(lab, cut=cut, held=stalled)

    def replaced_by(leader: str, cut: set[str]) -> None:
        elect(lab, leader, cut=cut, held=stalled)
        advance(lab, 0.2, held=stalled)

    elect(lab, "a")
    lonely_reign("b", cut={"c", "d", "e"})
    replaced_by("c", cut={"a", "b"})
    elect(lab, "a", held=stalled)
    lonely_reign("c", cut={"b", "d", "e"})
    replaced_by("d", cut={"a", "c"})
    elect(lab, "a", held=stalled)
    assert {node.journal.entries[-1] for node in lab.nodes.values()} == {a.journal.entries[-1]}

    outcome = a.propose(b"k")
    index = a.journal.entries[-1][1]
    for connection in stalled:
        answers = [message for message in lab.wires[connection] if isinstance(message, wire.AppendReply)]
        assert max(answer.index for answer in answers) >= index, "no answer is stale: the test shows nothing"
    dropped = a.member.dropped_total
    everybody_else = {"b", "c", "d", "e"}
    while any(lab.wires[connection] for connection in stalled):
        lab.deliver(*stalled)
        for name in everybody_else:
            lab.wires["a", name].clear()
    assert a.member.dropped_total > dropped
    assert a.member.leads
    assert a.journal.commit_index < index
    assert outcome == []
