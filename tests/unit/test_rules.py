"""The rules of the gate, one by one (kvstore.consensus.rules)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.consensus import rules
from kvstore.consensus.rules import Accept, Reject


def log(*terms: int, first: int = 1) -> list[rules.LogEntry]:
    """A log with these terms, its first entry at `first`."""
    return [(b"\x00%d" % term, first + place, term) for place, term in enumerate(terms)]


def sent(*terms: int) -> list[tuple[int, bytes]]:
    return [(term, b"\x00%d" % term) for term in terms]


def test_a_late_append_does_not_truncate_what_follows_it() -> None:
    fit = rules.normalise_append(log(0, 1, 1, 1), 1, 1, 0, sent(1), 4)
    assert fit == Accept(4, 1, [], matched=2, commit=2)


def test_only_a_conflict_truncates_and_only_from_there_on() -> None:
    fit = rules.normalise_append(log(0, 1, 1, 1), 1, 1, 0, sent(1, 2, 2), 2)
    assert isinstance(fit, Accept)
    assert (fit.prev_index, fit.prev_term) == (2, 1)
    assert [(index, term) for _, index, term in fit.entries] == [(3, 2), (4, 2)]
    assert (fit.matched, fit.commit) == (4, 2)


def test_the_commit_index_goes_no_further_than_what_was_matched() -> None:
    fit = rules.normalise_append(log(0, 1, 1, 1), 1, 2, 1, [], 4)
    assert isinstance(fit, Accept)
    assert fit.commit == fit.matched == 2


def test_entries_at_or_below_the_commit_index_are_never_compared_nor_touched() -> None:
    compacted = log(3, 3, 4, first=10)
    fit = rules.normalise_append(compacted, 11, 5, 2, sent(3, 3, 3, 3, 3, 3, 4), 12)
    assert fit == Accept(12, 4, [], matched=12, commit=12)
    assert rules.normalise_append(compacted, 11, 5, 2, [], 12) == Accept(12, 4, [], matched=11, commit=11)


def test_an_append_beyond_the_log_is_rejected_with_the_end_of_the_log() -> None:
    assert rules.normalise_append(log(0, 1, 1), 1, 7, 2, sent(2), 9) == Reject(3, 1)


def test_a_rejection_skips_a_whole_term_at_once() -> None:
    assert rules.normalise_append(log(0, 1, 4, 4, 4, 4), 1, 6, 3, [], 0) == Reject(2, 1)
    assert rules.next_after_reject(log(0, 1, 1, 2, 2, 3), 0, 5, 1) == 4


def test_who_differs_where_the_leaders_log_begins_gets_a_snapshot() -> None:
    compacted = log(3, 3, 3, first=41)
    assert rules.next_after_reject(compacted, 0, 41, 2) == 41
    assert rules.next_after_reject(compacted, 0, 41, 3) == 42


def test_the_next_index_never_falls_to_what_is_known_to_match() -> None:
    assert rules.next_after_reject(log(0, 1, 1, 1), 3, 1, 0) == 4


TERMS = st.lists(st.integers(1, 4), max_size=8).map(sorted)


@given(follower=TERMS, leader=TERMS, data=st.data())
def test_repeated_appends_bring_any_two_logs_together_and_keep_what_is_committed(
    follower: list[int], leader: list[int], data: st.DataObject
) -> None:
    """The follower's log, normalised and applied as the engine would, ends equal to the leader's, in bounded steps. The
    leader's may begin anywhere: what lies before that goes as a snapshot.
    """
    common = data.draw(st.integers(0, min(len(follower), len(leader))))
    floor = leader[common - 1] if common else 0
    follower = leader[:common] + [term for term in follower[common:] if term >= floor]
    mine, theirs = log(0, *follower), log(0, *leader)
    for place in range(common + 1, min(len(mine), len(theirs))):  # log matching: equal terms at an index, equal prefix
        if mine[place][2] == theirs[place][2] and mine[:place] != theirs[:place]:
            return
    commit = data.draw(st.integers(1, common + 1))
    kept = theirs[data.draw(st.integers(0, len(theirs) - 1), label="compacted") :]
    first = kept[0][1]
    following = len(theirs) + 1
    for _ in range(len(theirs) + len(mine) + 2):
        if following <= first:
            return  # a snapshot goes, and replaces the follower's log
        prev = following - 1
        entries = [(term, command) for command, _, term in theirs[following - 1 :]]
        fit = rules.normalise_append(mine, commit, prev, theirs[prev - 1][2], entries, len(theirs))
        if isinstance(fit, Reject):
            moved = rules.next_after_reject(kept, 0, *fit)
            assert moved < following
            following = moved
            continue
        before = mine[:commit]
        mine = mine[: fit.prev_index] + fit.entries
        assert mine[:commit] == before
        assert fit.matched == len(theirs)
        assert [entry[2] for entry in mine[: fit.matched]] == [entry[2] for entry in theirs]
        return
    pytest.fail("the logs never met")


@pytest.mark.parametrize(
    ("names", "voters", "majority"),
    [
        (["a"], ["a"], True),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a", "b", "c"], True),
        (["a", "b"], ["a", "b", "c", "d"], False),
        (["a", "a", "stranger", "other"], ["a", "b", "c"], False),
    ],
)
def test_only_voters_make_a_majority_and_each_counts_once(names: list[str], voters: list[str], majority: bool) -> None:
    assert rules.is_majority(names, voters) is majority


def test_vote_requests_are_ignored_while_a_leader_is_heard_unless_it_hands_over() -> None:
    assert not rules.heeds_vote_request(transfer=False, leads=False, since_leader_s=0.1, election_s_min=0.3)
    assert not rules.heeds_vote_request(transfer=False, leads=True, since_leader_s=9.0, election_s_min=0.3)
    assert rules.heeds_vote_request(transfer=False, leads=False, since_leader_s=0.3, election_s_min=0.3)
    assert rules.heeds_vote_request(transfer=True, leads=True, since_leader_s=0.0, election_s_min=0.3)


def test_a_pre_vote_needs_a_higher_term_and_a_current_log() -> None:
    assert rules.grants_pre_vote(3, 4, (2, 9), (2, 9))
    assert rules.grants_pre_vote(3, 4, (2, 9), (3, 1))
    assert not rules.grants_pre_vote(3, 3, (2, 9), (2, 9))
    assert not rules.grants_pre_vote(3, 4, (2, 9), (2, 8))


def test_a_vote_is_given_again_only_to_the_same_candidate_in_the_same_term() -> None:
    assert rules.grants_again(5, "a", "a", 5)
    assert not rules.grants_again(5, "a", "b", 5)
    assert not rules.grants_again(5, "a", "a", 6)
    assert not rules.grants_again(5, None, "a", 5)


def test_a_hint_before_the_log_never_sends_the_first_entry_as_the_second() -> None:
    assert rules.next_after_reject(log(0, 1, 1), 0, 0, 0) == 2
