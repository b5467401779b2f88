"""The cluster and its members, as methods of AsyncClient."""

import json
from typing import Any
from urllib.parse import quote

from kvstore import limits
from kvstore.client.calls import JSON, Calls
from kvstore.client.results import decode_json, parse_cluster
from kvstore.client.wire import Request
from kvstore.errors import BadRequest
from kvstore.model.results import ClusterView


class ClusterCalls(Calls):
    """See AsyncClient."""

    async def cluster(self, *, timeout_s: float | None = None) -> ClusterView:
        """The cluster as the node that answers sees it."""
        return parse_cluster(await self.cluster_document(timeout_s=timeout_s))

    async def cluster_document(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The same as the node wrote it, with members that this version may not know."""
        request = Request("GET", "/v1/cluster", "", JSON, None, write=False, timed=False)
        return decode_json((await self._send(request, timeout_s)).body, read=True)

    async def metrics(self, *, timeout_s: float | None = None) -> str:
        """The metrics of the node that answers, in the text format of Prometheus; with several endpoints one cannot
        know whose. Raises BadRequest for an answer that is longer than any, or no text.
        """
        request = Request("GET", "/metrics", "", {"Accept": "text/plain"}, None, write=False, timed=False)
        body = (await self._send(request, timeout_s)).body
        if len(body) > limits.METRICS_BYTES_MAX:
            raise BadRequest(
                f"{len(body):,} bytes of metrics; at most {limits.METRICS_BYTES_MAX:,} are read", read=True
            )
        try:
            return body.decode()
        except UnicodeDecodeError:
            raise BadRequest("the metrics are not UTF-8", read=True) from None

    async def add_member(self, name: str, peer: str, *, timeout_s: float | None = None) -> ClusterView:
        """Take in `name`, which listens to peers at `peer`, as a learner. Raises MembershipRefused."""
        return await self._change("POST", "/v1/cluster/members", {"name": name, "peer": peer}, timeout_s)

    async def remove_member(self, name: str, *, force: bool = False, timeout_s: float | None = None) -> int | None:
        """Remove `name`. Raises MembershipRefused, without `force` also where it may hold acknowledged writes at level
        one that nobody else has. How many such writes were lost, None if nobody knows.
        """
        path = f"/v1/cluster/members/{name}"
        document = await self._change_document("DELETE", path, None, timeout_s, "force=true" if force else "")
        lost = document.get("lost_writes", 0)
        return lost if isinstance(lost, int) else None

    async def transfer_leader(self, name: str | None = None, *, timeout_s: float | None = None) -> ClusterView:
        """Make `name`, or whoever is most current, the leader. Raises MembershipRefused."""
        return await self._change("POST", "/v1/cluster/leader", {} if name is None else {"name": name}, timeout_s)

    async def settings(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """The replicated settings that can be changed: `feature_level`, and under `settings` the value, the bounds and
        the unit of each.
        """
        request = Request("GET", "/v1/settings", "", JSON, None, write=False)
        return decode_json((await self._send(request, timeout_s)).body, read=True)

    async def change_setting(self, name: str, value: int, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Change a replicated setting, on all nodes at once; all of them then. Raises UpgradeIncomplete while a member
        is too old to know it. May be repeated at will.
        """
        body = json.dumps({"value": value}).encode()
        path = f"/v1/settings/{quote(name, safe='')}"
        request = Request("PUT", path, "", JSON, body, write=True, named=True)
        return decode_json((await self._send(request, timeout_s)).body, read=False)

    async def _change(
        self, method: str, path: str, body: dict[str, str] | None, timeout_s: float | None
    ) -> ClusterView:
        return parse_cluster(await self._change_document(method, path, body, timeout_s))

    async def _change_document(
        self, method: str, path: str, body: dict[str, str] | None, timeout_s: float | None, parameters: str = ""
    ) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = Request(method, path, parameters, JSON, data, write=True)
        return decode_json((await self._send(request, timeout_s)).body, read=False)
