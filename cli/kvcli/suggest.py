"""What somebody may have meant who wrote a word that is none of those there are. The one place that decides how near is
near enough.
"""

import difflib
from collections.abc import Iterable
from typing import Final

_NEAR: Final = 0.6
_AS_NEAR: Final = 0.1
_NAMED_MAX: Final = 3


def near(word: str, words: Iterable[str]) -> list[str]:
    """Those of `words` that `word` may be a slip of, the nearest first."""
    known = {each.casefold(): each for each in words}
    found = difflib.get_close_matches(word.casefold(), known, n=_NAMED_MAX, cutoff=_NEAR)
    ratios = {each: difflib.SequenceMatcher(None, each, word.casefold()).ratio() for each in found}
    found = [each for each in found if ratios[each] > ratios[found[0]] - _AS_NEAR]
    # Short words are told apart by few letters: the beginning of one counts too.
    begun = [each for each in known if len(word) > 1 and each.startswith(word.casefold()) and each not in found]
    return [known[each] for each in (*found, *begun)][:_NAMED_MAX]


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A sentence with a space before it, or nothing."""
    meant = near(word, words)
    quoted = [f"'{each}'" for each in meant]
    return f" Did you mean {' or '.join(quoted)}?" if meant else ""
