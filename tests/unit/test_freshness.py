"""How fresh a follower knows its state to be: never fresher than it is, whatever becomes of the leader's messages."""

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.consensus.freshness import Freshness, TokenClock

NEVER = float("-inf")


# -- the clock that travels


def test_a_token_comes_back_as_the_moment_at_which_it_was_made() -> None:
    clock = TokenClock(start_s=100.0, base=1 << 39)
    token = clock.token(123.456789)
    assert clock.seconds(token, now_s=130.0) == pytest.approx(123.456789, abs=1e-6)
    assert clock.seconds(clock.token(100.0), now_s=100.0) == 100.0


def test_a_token_of_the_future_or_of_before_the_start_was_never_made_here() -> None:
    clock = TokenClock(start_s=100.0, base=1 << 39)
    assert clock.seconds(clock.token(131.0), now_s=130.0) is None
    assert clock.seconds((1 << 39) - 1, now_s=130.0) is None
    assert clock.seconds(0, now_s=130.0) is None


def test_a_token_of_another_process_means_nothing_to_this_one() -> None:
    former = TokenClock(start_s=100.0, base=700 << 30)
    present = TokenClock(start_s=150.0, base=3 << 30)
    for now_s in (150.0, 160.0, 1_000.0):
        assert present.seconds(former.token(140.0), now_s) is None


@given(start_s=st.floats(0, 1e6), after_s=st.floats(0, 1e6), later_s=st.floats(0, 1e3), base=st.integers(0, 1 << 40))
def test_a_token_is_never_taken_for_a_later_moment(start_s: float, after_s: float, later_s: float, base: int) -> None:
    clock = TokenClock(start_s, base)
    made_s = start_s + after_s
    found = clock.seconds(clock.token(made_s), made_s + later_s)
    assert found is not None
    assert made_s - 2e-6 <= found <= made_s + 1e-6


# -- the book


def test_a_state_is_as_fresh_as_the_word_that_it_has_reached() -> None:
    book = Freshness()
    assert book.as_of(1_000) == NEVER
    book.told(10, 5.0)
    book.told(12, 6.0)
    assert book.as_of(9) == NEVER
    assert book.as_of(10) == 5.0
    assert book.as_of(11) == 5.0
    assert book.as_of(12) == 6.0
    assert book.as_of(12) == 6.0


def test_heartbeats_without_news_make_it_fresher_and_take_no_room() -> None:
    book = Freshness()
    for turn in range(10_000):
        book.told(10, float(turn))
    assert len(book._told) == 1
    assert book.as_of(10) == 9_999.0


def test_a_message_that_comes_late_takes_nothing_back() -> None:
    book = Freshness()
    book.told(10, 5.0)
    assert book.as_of(10) == 5.0
    book.told(8, 3.0)
    assert book.as_of(10) == 5.0


def test_a_follower_that_applies_slowly_keeps_a_bounded_book_and_gets_fresh_again_once_it_has_caught_up() -> None:
    book = Freshness()
    for index in range(1_000):
        book.told(index, float(index))
    assert len(book._told) <= 64
    as_of = book.as_of(999)
    assert 0.0 <= as_of <= 999.0
    book.told(999, 1_000.0)
    assert book.as_of(999) == 1_000.0


class Word(NamedTuple):
    """What the leader said at `said_s`: at `confirmed_s` nothing was acknowledged beyond `commit`."""

    commit: int
    confirmed_s: float
    said_s: float


@st.composite
def histories(draw: st.DrawFn) -> list[Word]:
    """The words of leaders as time goes on; commit index and confirmation only rise."""
    words = []
    commit, now_s, confirmed_s = 1, 0.0, 0.0
    for _ in range(draw(st.integers(1, 30))):
        commit += draw(st.sampled_from([0, 0, 1, 2, 5]))
        now_s += draw(st.sampled_from([0.0, 1.0, 2.0]))
        confirmed_s = max(confirmed_s, now_s - draw(st.sampled_from([0.0, 0.5, 3.0])))
        words.append(Word(commit, confirmed_s, now_s))
    return words


@given(words=histories(), data=st.data())
def test_delayed_reordered_repeated_and_lost_words_never_make_it_fresher(
    words: list[Word], data: st.DataObject
) -> None:
    """Against the definition: as of the latest moment for which a word that has arrived says that what is applied was
    all there was.
    """
    arrivals = data.draw(st.lists(st.sampled_from(words), max_size=40))
    book, arrived, applied, before = Freshness(), [], 0, NEVER
    for word in arrivals:
        book.told(word.commit, word.confirmed_s)
        arrived.append(word)
        applied = max(applied, data.draw(st.integers(0, words[-1].commit)))
        as_of = book.as_of(applied)
        assert as_of <= max((each.confirmed_s for each in arrived if each.commit <= applied), default=NEVER)
        assert as_of >= before, "it is never taken back"
        before = as_of
        # And the truth, of which the follower knows nothing: no later word had less to tell.
        for each in words:
            if each.commit > applied:
                assert as_of <= each.confirmed_s


@given(words=histories(), data=st.data())
def test_words_in_their_order_are_told_exactly(words: list[Word], data: st.DataObject) -> None:
    book, arrived, applied = Freshness(), [], 0
    for word in words:
        book.told(word.commit, word.confirmed_s)
        arrived.append(word)
        applied = max(applied, data.draw(st.integers(0, word.commit)))
        assert book.as_of(applied) == max(
            (each.confirmed_s for each in arrived if each.commit <= applied), default=NEVER
        )
