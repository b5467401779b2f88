"""The table of what becomes of a write that is not acknowledged: consistent in itself, and shown as it is."""

from pathlib import Path

import pytest

from kvstore import outcomes
from kvstore.errors import DeadlineExceeded, Unavailable
from kvstore.outcomes import FATES, Fate

PAGE = Path(__file__).resolve().parents[2] / "docs/consistency.md"


def test_the_page_on_consistency_shows_the_table_as_it_is() -> None:
    """After a change: put what `python -m kvstore.outcomes` prints into docs/consistency.md."""
    assert outcomes.table() in PAGE.read_text(encoding="utf-8")


def test_every_fate_of_the_module_stands_in_the_table() -> None:
    named = [value for value in vars(outcomes).values() if isinstance(value, Fate)]
    assert {fate.what for fate in FATES} == {fate.what for fate in named}


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.what)
def test_an_outcome_goes_with_the_status_that_tells_it(fate: Fate) -> None:
    """503, 507 and 429 promise that nothing was applied, so it may be sent again; 504 never does."""
    error = outcomes.error(fate)
    assert error.outcome == fate.outcome
    if issubclass(fate.error, DeadlineExceeded):
        assert fate.outcome in ("unknown", "committed")
        assert not error.retry_safe
    else:
        assert fate.outcome == "not_applied"
        assert error.retry_safe
    assert issubclass(fate.error, (DeadlineExceeded, Unavailable)) or error.status in (429, 507)
