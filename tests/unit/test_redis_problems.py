"""What the Redis door says of an error, and what its own client understands of it."""

import pytest

from kvstore.errors import DeadlineExceeded, InternalError, KvError, NoQuorum, Outcome
from kvstore.redis.problems import MEANINGS, PREFIXES, told, understood


@pytest.mark.parametrize("outcome", ["not_applied", "unknown", "committed"])
@pytest.mark.parametrize("kind", PREFIXES)
def test_a_client_understands_the_outcome_of_a_write_that_the_door_has_told(
    kind: type[KvError], outcome: Outcome
) -> None:
    assert understood(told(kind("why", outcome=outcome)).decode()).outcome == outcome


@pytest.mark.parametrize("kind", PREFIXES)
def test_what_only_reads_has_no_outcome(kind: type[KvError]) -> None:
    failed = understood(told(kind("why", read=True), read=True).decode(), read=True)
    assert failed.outcome is None


def test_the_code_is_that_of_the_http_api_where_the_first_word_tells_it() -> None:
    failed = understood(told(NoQuorum("too few", leader="n2", missing=("n1", "n3"))).decode())
    assert type(failed) is NoQuorum
    assert failed.detail == "NOQUORUM too few (leader n2, missing n1,n3)"
    assert type(understood("UNKNOWNOUTCOME no answer")) is DeadlineExceeded


@pytest.mark.parametrize("prefix", MEANINGS)
def test_every_first_word_of_the_page_is_understood(prefix: str) -> None:
    """The page says of all but three that nothing was applied, or that they are not of a write."""
    expected = {"UNKNOWNOUTCOME": "unknown", "LEVELNOTMET": "committed"}.get(prefix, "not_applied")
    assert understood(f"{prefix} words").outcome == expected


def test_a_first_word_that_nobody_knows_says_nothing_about_a_write() -> None:
    assert (type(understood("WHATEVER x")), understood("WHATEVER x").outcome) == (InternalError, "unknown")
    assert understood("WHATEVER x", read=True).outcome is None
