"""Pages of a range at level ONE: the applied state, laid over with what this node has pending."""

from heapq import merge

from kvstore.limits import RANGE_PAGE_BYTES_MAX
from kvstore.model.keys import successor
from kvstore.model.results import Record
from kvstore.node.overlay import Overlay, as_record
from kvstore.state.machine import Machine

_Page = tuple[list[tuple[bytes, Record]], int, bytes | None]


def with_overlay(
    machine: Machine, overlay: Overlay, start: bytes, end: bytes | None, limit: int, after: bytes | None, reverse: bool
) -> _Page:
    """The same as `Machine.range`, with pending writes in their place. `limit` is at least 1.

    The cost grows with the page and with what is pending in the range.
    """
    shown = {key: as_record(pending) for key, pending in overlay.within(machine, start, end)}
    _, count, _ = machine.range(start, end, limit=0, bytes_max=0)
    for key, record in shown.items():
        count += (record is not None) - (machine.get(key) is not None)
    if after is not None:
        if reverse:
            end = after if end is None else min(after, end)
        else:
            start = max(start, successor(after))
    # A page more than asked for, by as many as may fall out of it.
    applied, _, following = machine.range(
        start, end, limit=limit + len(shown) + 1, bytes_max=RANGE_PAGE_BYTES_MAX, reverse=reverse
    )
    pending = sorted(key for key in shown if start <= key and (end is None or key < end))
    if following is not None:
        # What lies beyond the applied part of this page belongs to the next one.
        pending = [key for key in pending if (key >= following if reverse else key <= following)]
    keys = merge(
        (key for key, _ in applied if key not in shown),
        reversed(pending) if reverse else pending,
        reverse=reverse,
    )
    records = dict(applied)
    page: list[tuple[bytes, Record]] = []
    room = RANGE_PAGE_BYTES_MAX
    for key in keys:
        record = shown[key] if key in shown else records[key]
        if record is None:
            continue
        room -= len(key) + len(record.value)
        if page and (room < 0 or len(page) == limit):
            return page, count, page[-1][0]
        page.append((key, record))
    return page, count, following
