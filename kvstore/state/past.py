"""What a range looked like at an older revision: the present, laid over with the records of the keys that changed
since.

For a key, the first change after the revision tells the record that it had at it. A reader that goes through a range
page by page asks for one revision again and again, so the last few are kept, and only what changed since is looked at.
"""

from collections import OrderedDict
from typing import Final

from sortedcontainers import SortedDict

from kvstore.state.contents import Contents
from kvstore.state.raw import RawRecord

_KEPT: Final = 8


class Past:
    """The overlays of a few revisions, in the order of their last use."""

    __slots__ = ("_overlays",)

    def __init__(self) -> None:
        self._overlays: OrderedDict[int, _Overlay] = OrderedDict()

    def within(
        self, contents: Contents, revision: int, start: bytes, end: bytes | None
    ) -> dict[bytes, RawRecord | None]:
        """The keys of a range that have changed after `revision`, each with its record then, or None if it was
        absent.
        """
        overlay = self._overlays.pop(revision, None)
        if overlay is None:
            overlay = _Overlay(revision)
            if len(self._overlays) >= _KEPT:
                self._overlays.popitem(last=False)
        self._overlays[revision] = overlay
        overlay.extend(contents)
        shown = overlay.shown
        return {key: shown[key] for key in shown.irange(start, end, inclusive=(True, False))}


class _Overlay:
    """The keys that changed in the revisions after one, up to another."""

    __slots__ = ("_upto", "shown")

    def __init__(self, revision: int) -> None:
        self._upto = revision
        self.shown: SortedDict[bytes, RawRecord | None] = SortedDict()

    def extend(self, contents: Contents) -> None:
        for _, key, _, before, _ in contents.history.after(self._upto, limit=len(contents.history)):
            self.shown.setdefault(key, before)
        self._upto = contents.revision
