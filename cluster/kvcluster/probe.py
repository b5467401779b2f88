"""What a node says about itself over HTTP, asked with the standard library alone and a short deadline."""

import http.client
import json
from collections.abc import Collection
from typing import Any, Final

from kvcluster.topology import HOST, NodeSpec
from kvstore.client import Tls
from kvstore.errors import LocalError

PROBE_S: Final = 1.0


def not_ready(node: NodeSpec, addresses: Collection[str]) -> str | None:
    """None when the node's /readyz is 200, else why it is not. A port that somebody else took first is answered, too,
    perhaps by a node of another cluster: one that knows itself by none of these `addresses`.
    """
    status, body = _get(node, "/readyz")
    if status == 200:
        view = cluster_view(node)
        member = own_member(view) if view is not None and "members" in view else None
        if member is not None and member["peer"] not in addresses:
            return f"is not who answers at {node.http}: that is the node at {member['peer']}"
        return None
    if status == 0:
        return f"does not answer ({body.decode(errors='replace')})"
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"answers {status}: {body[:200].decode(errors='replace').strip()}"


def cluster_view(node: NodeSpec) -> dict[str, Any] | None:
    """The node's answer to GET /v1/cluster, or None."""
    status, body = _get(node, "/v1/cluster")
    if status != 200:
        return None
    try:
        view = json.loads(body)
    except ValueError:
        return None
    return view if isinstance(view, dict) else None


def metric(node: NodeSpec, name: str) -> float | None:
    """The sample `name`, with its labels if it has some, of the node's metrics; None if it cannot be had."""
    status, body = _get(node, "/metrics")
    lines = body.decode(errors="replace").splitlines() if status == 200 else []
    return next((float(line.rpartition(" ")[2]) for line in lines if line.rpartition(" ")[0] == name), None)


def own_member(view: dict[str, Any] | None) -> dict[str, Any] | None:
    """What the node that gave `view` says about itself in it."""
    if view is None:
        return None
    members: list[dict[str, Any]] = view["members"]
    return next((member for member in members if member["name"] == view["node"]), None)


def _get(node: NodeSpec, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(HOST, node.http_port, timeout=PROBE_S)
    try:
        if node.tls is not None:
            context = Tls(str(node.tls.ca), *map(str, node.tls.client)).context()
            connection = http.client.HTTPSConnection(HOST, node.http_port, timeout=PROBE_S, context=context)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException, LocalError) as error:
        return 0, (str(error) or type(error).__name__).encode()
    finally:
        connection.close()
