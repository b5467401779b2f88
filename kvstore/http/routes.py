"""The route table: the one place that says which method on which path means what."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from aiohttp import web

from kvstore.http import (
    batch,
    cluster,
    keepalives,
    kv,
    leases,
    once,
    operations,
    ranges,
    settings,
    snapshot,
    transactions,
    watch,
)
from kvstore.http.answer import Answer
from kvstore.http.kv import Door
from kvstore.http.operations import Operation

# (door, request, the rest of the path behind its prefix still encoded, the query still encoded)
Handler = Callable[[Door, web.BaseRequest, str, str], Awaitable[Answer]]

ITEM_PATH: Final = "/v1/kv/{key}"
RECEIPT_PATH: Final = "/v1/receipts/{id}"
SESSION_PATH: Final = "/v1/sessions/{session}"
MEMBER_PATH: Final = "/v1/cluster/members/{name}"
SETTING_PATH: Final = "/v1/settings/{name}"
LEASE_PATH: Final = "/v1/leases/{id}"
KEEPALIVE_PATH: Final = "/v1/leases/{id}/keepalive"

# (prefix, suffix, path) of the paths with something given; keys first, because they are asked for most.
GIVEN: Final = tuple(
    (path[: path.index("{")], path[path.index("}") + 1 :], path)
    for path in (ITEM_PATH, RECEIPT_PATH, SESSION_PATH, MEMBER_PATH, SETTING_PATH, KEEPALIVE_PATH, LEASE_PATH)
)


class Route(NamedTuple):
    """One operation; `operation` says what it takes and answers. `read`: it changes nothing, so that its errors have no
    outcome. `levelled`: it takes a level.
    """

    method: str
    path: str
    handler: Handler
    operation: Operation
    read: bool
    levelled: bool


ROUTES: Final = (
    Route("GET", ITEM_PATH, kv.get, operations.GET_KEY, read=True, levelled=True),
    Route("PUT", ITEM_PATH, kv.put, operations.PUT_KEY, read=False, levelled=True),
    Route("DELETE", ITEM_PATH, kv.delete, operations.DELETE_KEY, read=False, levelled=True),
    Route("GET", "/v1/kv", ranges.get_range, operations.GET_RANGE, read=True, levelled=True),
    Route("POST", "/v1/batch", batch.post_batch, operations.BATCH, read=False, levelled=True),
    Route("DELETE", "/v1/kv", transactions.delete_range, operations.DELETE_RANGE, read=False, levelled=True),
    Route("POST", "/v1/txn", transactions.transact, operations.TXN, read=False, levelled=True),
    Route("POST", "/v1/compact", transactions.compact, operations.COMPACT, read=False, levelled=False),
    Route("GET", "/v1/watch", watch.get_watch, operations.WATCH, read=True, levelled=False),
    Route("POST", "/v1/leases", leases.grant, operations.GRANT, read=False, levelled=False),
    Route("GET", "/v1/leases", leases.get_leases, operations.LEASES, read=True, levelled=False),
    Route(
        "POST",
        "/v1/leases/keepalive",
        keepalives.keep_many_alive,
        operations.KEEP_MANY_ALIVE,
        read=False,
        levelled=False,
    ),
    Route("GET", LEASE_PATH, leases.get_lease, operations.LEASE, read=True, levelled=False),
    Route("DELETE", LEASE_PATH, leases.revoke, operations.REVOKE, read=False, levelled=False),
    Route("POST", KEEPALIVE_PATH, leases.keep_alive, operations.KEEP_ALIVE, read=False, levelled=False),
    Route("GET", RECEIPT_PATH, once.get_receipt, operations.RECEIPT, read=True, levelled=False),
    Route("GET", "/v1/snapshot", snapshot.get_snapshot, operations.SNAPSHOT, read=True, levelled=True),
    Route("POST", "/v1/sessions", once.open_session, operations.OPEN_SESSION, read=False, levelled=False),
    Route("DELETE", SESSION_PATH, once.close_session, operations.CLOSE_SESSION, read=False, levelled=False),
    Route("GET", "/v1/cluster", cluster.get_cluster, operations.CLUSTER, read=True, levelled=False),
    Route("POST", "/v1/cluster/members", cluster.add_member, operations.ADD_MEMBER, read=False, levelled=False),
    Route("DELETE", MEMBER_PATH, cluster.remove_member, operations.REMOVE_MEMBER, read=False, levelled=False),
    Route("GET", "/v1/settings", settings.get_settings, operations.SETTINGS, read=True, levelled=False),
    Route("PUT", SETTING_PATH, settings.put_setting, operations.SETTING, read=False, levelled=False),
    Route("POST", "/v1/cluster/leader", cluster.transfer_leader, operations.TRANSFER, read=False, levelled=False),
    Route("GET", "/livez", cluster.livez, operations.LIVE, read=True, levelled=False),
    Route("GET", "/readyz", cluster.readyz, operations.READY, read=True, levelled=False),
    Route("GET", "/openapi.json", cluster.get_openapi, operations.DESCRIPTION, read=True, levelled=False),
    Route("GET", "/docs", cluster.get_docs, operations.PAGE, read=True, levelled=False),
    Route("GET", "/metrics", cluster.metrics, operations.METRICS, read=True, levelled=False),
)


def by_path() -> dict[str, dict[str, Route]]:
    """Path to method to route. HEAD goes wherever GET goes; the answer leaves its body out."""
    table: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        methods = table.setdefault(route.path, {})
        methods[route.method] = route
        if route.method == "GET":
            methods["HEAD"] = route._replace(method="HEAD")
    return table
