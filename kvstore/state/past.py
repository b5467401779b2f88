"""What the store looked like at an older revision: the present, laid over with the records of the keys that changed
since.

For a key, the first change after the revision tells the record that it had at it. A reader that goes through a range
page by page asks for one revision again and again, so the last few are kept, and only what changed since is looked at.
Such a reader may go on although the history behind it has been compacted: what it needs of it was taken in before.
"""

from collections import OrderedDict
from typing import Final

from sortedcontainers import SortedDict

from kvstore.limits import PAST_KEYS_MAX
from kvstore.model.results import Record
from kvstore.state.contents import Contents
from kvstore.state.raw import record_of

_KEPT: Final = 8

Shown = SortedDict[bytes, Record | None]
"""What is to be seen of some keys instead of their present records; None for nothing."""

NOTHING_SHOWN: Final[Shown] = SortedDict()


class Past:
    """The overlays of a few revisions, in the order of their last use."""

    __slots__ = ("_overlays",)

    def __init__(self) -> None:
        self._overlays: OrderedDict[int, _Overlay] = OrderedDict()

    def at(self, contents: Contents, revision: int) -> Shown | None:
        """The keys that have changed after `revision`, each with its record then; None if that is not known any
        more.
        """
        overlay = self._overlays.pop(revision, None) or _Overlay(revision)
        if overlay.upto < contents.history.compacted:
            return None
        if len(self._overlays) >= _KEPT:
            self._overlays.popitem(last=False)
        self._overlays[revision] = overlay
        overlay.extend(contents)
        if len(overlay.shown) > PAST_KEYS_MAX:
            del self._overlays[revision]
            return None
        return overlay.shown


class _Overlay:
    """The keys that changed in the revisions after one, up to another."""

    __slots__ = ("shown", "upto")

    def __init__(self, revision: int) -> None:
        self.upto = revision
        self.shown: Shown = SortedDict()

    def extend(self, contents: Contents) -> None:
        for _, key, _, before, _ in contents.history.after(self.upto, limit=len(contents.history)):
            if key not in self.shown:
                self.shown[key] = None if before is None else record_of(before)
        self.upto = max(self.upto, contents.revision)
