"""Asks every node again and again what it says of itself, and writes it into the history when it has changed."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from kvcluster.probe import own_member
from kvjepsen.access import OPEN, Access
from kvjepsen.records import Recorder
from kvstore.errors import KvError, LocalError

_PAUSE_S: Final = 0.2
_ANSWER_S_MAX: Final = 0.5


class Observer:
    """`nodes`: URLs by name. `views` is what each said last of itself."""

    def __init__(self, nodes: Mapping[str, str], recorder: Recorder, access: Access = OPEN) -> None:
        self._nodes = nodes
        self._recorder = recorder
        self._access = access
        self.views: dict[str, dict[str, Any]] = {}

    @property
    def leader(self) -> str | None:
        """Who leads, as far as is known: of those who say so the one with the highest term."""
        leading = [(view["term"], name) for name, view in self.views.items() if view.get("role") == "leader"]
        return max(leading)[1] if leading else None

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set. A node that does not answer keeps nobody waiting but its own turn."""
        async with asyncio.TaskGroup() as group:
            for name, url in self._nodes.items():
                group.create_task(self._watch(name, url, stop))

    async def _watch(self, name: str, url: str, stop: asyncio.Event) -> None:
        async with self._access.client([url], timeout_s=_ANSWER_S_MAX) as client:
            while not stop.is_set():
                try:
                    view = _told(await client.cluster_document())
                except (KvError, LocalError):
                    view = {"role": None}
                if self.views.get(name) != view:
                    self.views[name] = view
                    self._recorder.observe(name, view)
                try:
                    await asyncio.wait_for(stop.wait(), _PAUSE_S)
                except TimeoutError:
                    continue


def _told(answer: dict[str, Any]) -> dict[str, Any]:
    """What concerns the node itself."""
    own = own_member(answer)
    if own is None:
        return {"role": None}
    view = {"term": answer["term"], "role": own["role"], "commit_index": answer["commit_index"]}
    return view if own["digest"] is None else {**view, "digest": own["digest"]}
