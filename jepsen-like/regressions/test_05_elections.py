"""Fact 5: no pre-vote, no confirmation of reads; a leader steps down only after 30 s without a majority, and no higher
term in a reply makes it; vote responses are counted, not collected.

Engine: `SyncObj._onTick` (election, leaderFallbackTimeout), `SyncObj.__onMessageReceived` (request_vote,
response_vote).
Here: R7 and R8 (`Elections.hold_deadline`, `vote_request`), R10 (the engine's fallback set to one election timeout), R9
(`Following.append`, `Member._receive_answer`), R5 (`Elections.vote_reply`), R11 (`Leadership.read`).
"""

import pytest

from kvstore.consensus import messages as wire
from regressions.published import published
from regressions.schedules import followers
from tests.support.lab import Lab


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, object]]:
    answer: dict[str, dict[str, object]] = published("elections", tmp_path_factory.mktemp("elections"))
    return answer


def test_a_published_node_that_comes_back_deposes_the_leader(found: dict[str, dict[str, object]]) -> None:
    isolated = found["isolated"]
    assert isolated["leader_deposed_at_return"]
    assert isinstance(isolated["terms_raised_alone"], int)
    assert isolated["terms_raised_alone"] >= 2


def test_here_it_raises_no_term_and_the_leader_stays() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    term = leader.member.term
    lab.advance(3.0, followers(lab, leader)[0].name)
    lab.advance(1.0)
    assert lab.leaders() == [leader]
    assert {node.member.term for node in lab.nodes.values()} == {term}


def test_a_published_leader_alone_goes_on_for_30_s_and_reads_stale_values(found: dict[str, dict[str, object]]) -> None:
    assert found["alone_25_s"] == {"leads": True, "newer_acknowledged": True, "reads": "old"}
    assert not found["alone_35_s"]["leads"]


def test_here_it_steps_down_within_one_election_timeout_and_confirms_no_read() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    refused: list[bool] = []
    leader.member.read_index(lambda _index, error: refused.append(error is not None))
    lab.advance(0.35, leader.name)
    assert not leader.member.leads
    assert refused == [True]
    leader.member.read_index(lambda _index, error: refused.append(error is not None))
    assert refused == [True, True]


def test_a_published_candidate_is_elected_by_one_stranger(found: dict[str, dict[str, object]]) -> None:
    assert found["votes"]["leads_by_one_stranger"]


def asking(lab: Lab, *, pre: bool) -> int:
    """Let a campaign until it asks for votes (or pre-votes); the term that it asks for."""
    for _ in range(100):
        lab.now += 0.01
        lab.nodes["a"].run()
        for request in lab.wires["a", "b"]:
            if isinstance(request, wire.VoteRequest) and request.pre == pre:
                return request.term
    raise AssertionError("a does not ask")


def answer(lab: Lab, *voters: str, term: int, pre: bool) -> None:
    for voter in voters:
        lab.nodes["a"].member.peer_message(voter, wire.VoteReply(term=term, granted=True, pre=pre))
        lab.nodes["a"].run()


def test_here_one_voice_counts_once_and_a_stranger_not_at_all() -> None:
    lab = Lab("a", "b", "c", "d", "e")
    candidate = lab.nodes["a"].member
    term = asking(lab, pre=True)
    answer(lab, "b", "b", "b", "stranger", "stranger", term=term, pre=True)
    assert candidate.term == term - 1, "the pre-vote is not won by two of five"
    answer(lab, "c", term=term, pre=True)
    assert asking(lab, pre=False) == candidate.term == term
    answer(lab, "b", "b", "b", "stranger", "stranger", term=term, pre=False)
    assert not candidate.leads
    answer(lab, "c", term=term, pre=False)
    assert candidate.leads


def test_a_published_leader_is_not_told_of_a_higher_term(found: dict[str, dict[str, object]]) -> None:
    assert found["higher_term"] == {"term_of_leader": 1, "term_of_follower": 9}


def test_here_any_reply_of_a_higher_term_ends_a_leadership() -> None:
    lab = Lab("a", "b", "c")
    leader = lab.elect()
    follower = followers(lab, leader)[0]
    request = wire.VoteRequest(term=9, last_index=1, last_term=0, pre=False, transfer=True)
    follower.member.peer_message(followers(lab, leader)[1].name, request)
    follower.run()
    assert follower.member.term == 9
    lab.now += 0.06
    leader.run()
    lab.deliver((leader.name, follower.name))
    lab.deliver((follower.name, leader.name))
    assert leader.member.term == 9
    assert not leader.member.leads
