"""Proposals that this node has appended and whose fate is not known yet, by log index.

What decides it: an entry of the same term applied at that index (it was committed), an entry of another term (it never
can be), or neither for a while after leadership was lost (nobody here can tell).
"""

from collections.abc import Callable
from typing import Any

from kvstore import outcomes
from kvstore.consensus.engine import ProposalDone
from kvstore.outcomes import Fate


class Pending:
    """Each proposal is told once. Answers are gathered while a step runs and given at its end (`resolve`)."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[int, ProposalDone]] = {}
        self._answers: list[Callable[[], None]] = []

    def add(self, index: int, term: int, done: ProposalDone) -> None:
        """A proposal was appended at `index` in `term`."""
        if index in self._open:  # led, lost what was appended here, and leads again
            self.unknown(outcomes.OVERWRITTEN, but_term=term, up_to=index)
        self._open[index] = (term, done)

    def applied(self, index: int, term: int, result: Any) -> None:
        """The entry of `term` at `index` was applied."""
        waiting = self._open.pop(index, None)
        if waiting is None:
            return
        proposed_in, done = waiting
        if proposed_in == term:
            self._answers.append(lambda: done(result, index, None))
        else:
            lost = outcomes.error(outcomes.REPLACED)
            self._answers.append(lambda: done(None, index, lost))

    def unknown(self, fate: Fate, *, but_term: int | None = None, up_to: int | None = None) -> None:
        """Give up on what is open: of other terms than `but_term`, up to index `up_to` (all without them)."""
        for index, (proposed_in, _) in list(self._open.items()):
            if proposed_in != but_term and (up_to is None or index <= up_to):
                _, done = self._open.pop(index)
                self._answers.append(lambda done=done: done(None, 0, outcomes.error(fate)))  # type: ignore[misc]

    def later(self, answer: Callable[[], None]) -> None:
        """Something else to be told at the end of the step."""
        self._answers.append(answer)

    def resolve(self) -> None:
        """Tell everybody whose fate is known by now."""
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()
