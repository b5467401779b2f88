"""What the size of a cluster means, in words."""

from typing import Final

_UNITS_S: Final = {"d": 86_400.0, "h": 3_600.0, "min": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}

# Of the time, for a sentence with figures.
_DOWN: Final = 0.01


def even_size(voters: int) -> str | None:
    """Why one voter less, or more, would be better; None for an odd number, and for none."""
    if voters < 2 or voters % 2:
        return None
    from kvstore.availability import YEAR_S, raft_failure

    more, fewer = (duration(raft_failure(n, _DOWN) * YEAR_S) for n in (voters, voters - 1))
    failures = voters // 2 - 1
    return (
        f"{voters} voters survive {failures or 'no'} failure{'s' * (failures != 1)}, like {voters - 1}, and lack a "
        f"majority more often ({more} a year, not {fewer}, if each is down {_DOWN:.0%} of the time): use an odd number"
    )


def duration(seconds: float) -> str:
    """At most five characters."""
    for unit, length_s in _UNITS_S.items():
        if (count := seconds / length_s) >= 0.995:
            return f"{count:.1f}{unit}" if count < 9.95 and len(unit) < 3 else f"{count:.0f}{unit}"
    return "0" if seconds == 0 else "<1us"
