"""What is said of the size of a cluster."""

import pytest

from kvcli.sizes import even_size


def test_an_even_number_is_told_with_its_figures() -> None:
    # 1 - 0.99^4 - 4 * 0.01 * 0.99^3 of a year is 5.2 hours; 1 - 0.99^3 - 3 * 0.01 * 0.99^2 is 2.6.
    assert even_size(4) == (
        "4 voters survive 1 failure, like 3, and lack a majority more often (5.2h a year, not 2.6h, if each is down 1% "
        "of the time): use an odd number"
    )
    assert even_size(2) == (
        "2 voters survive no failures, like 1, and lack a majority more often (7.3d a year, not 3.7d, if each is down "
        "1% of the time): use an odd number"
    )
    assert "6 voters survive 2 failures, like 5" in (even_size(6) or "")


@pytest.mark.parametrize("voters", [0, 1, 3, 5, 9])
def test_nothing_is_said_of_an_odd_number(voters: int) -> None:
    assert even_size(voters) is None
