"""The route table: the one place that says which method on which path means what."""

from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from aiohttp import web

from kvstore.http import (
    auth,
    auth_operations,
    batch,
    cluster,
    keepalives,
    kv,
    leases,
    odds,
    once,
    operations,
    page_operations,
    ranges,
    reports,
    settings,
    snapshot,
    transactions,
    ui,
    users,
    watch,
)
from kvstore.http.answer import Answer
from kvstore.http.kv import Door
from kvstore.http.operations import Operation
from kvstore.http.permissions import EACH, KNOWN, METRICS, OPEN, OWN, Permission, anywhere, on_key, on_range
from kvstore.model.permissions import ADMIN, DELETE, LEASE, READ, WATCH, WRITE

# (door, request, the rest of the path behind its prefix still encoded, the query still encoded)
Handler = Callable[[Door, web.BaseRequest, str, str], Awaitable[Answer]]

ITEM_PATH: Final = "/v1/kv/{key}"
RECEIPT_PATH: Final = "/v1/receipts/{id}"
SESSION_PATH: Final = "/v1/sessions/{session}"
MEMBER_PATH: Final = "/v1/cluster/members/{name}"
SETTING_PATH: Final = "/v1/settings/{name}"
LEASE_PATH: Final = "/v1/leases/{id}"
KEEPALIVE_PATH: Final = "/v1/leases/{id}/keepalive"
USER_PATH: Final = "/v1/auth/users/{name}"
PASSWORD_PATH: Final = "/v1/auth/users/{name}/password"
USER_GRANT_PATH: Final = "/v1/auth/users/{name}/grant"
USER_REVOKE_PATH: Final = "/v1/auth/users/{name}/revoke"
ROLE_PATH: Final = "/v1/auth/roles/{name}"
ROLE_GRANT_PATH: Final = "/v1/auth/roles/{name}/grant"
ROLE_REVOKE_PATH: Final = "/v1/auth/roles/{name}/revoke"

REPORT_PATH: Final = "/v1/reports/{path}"
PAGE_PATH: Final = "/ui/{file}"

# (prefix, suffix, path) of the paths with something given; keys first, because they are asked for most.
GIVEN: Final = tuple(
    (path[: path.index("{")], path[path.index("}") + 1 :], path)
    for path in (
        ITEM_PATH,
        RECEIPT_PATH,
        SESSION_PATH,
        MEMBER_PATH,
        SETTING_PATH,
        KEEPALIVE_PATH,
        LEASE_PATH,
        PASSWORD_PATH,
        USER_GRANT_PATH,
        USER_REVOKE_PATH,
        USER_PATH,
        ROLE_GRANT_PATH,
        ROLE_REVOKE_PATH,
        ROLE_PATH,
        REPORT_PATH,
        PAGE_PATH,
    )
)


class Route(NamedTuple):
    """One operation; `permission` says who may ask for it, `operation` what it takes and answers. `read`: it changes
    nothing, so that its errors have no outcome. `levelled`: it takes a level.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission
    operation: Operation
    read: bool
    levelled: bool


ROUTES: Final = (
    Route("GET", ITEM_PATH, kv.get, on_key(READ), operations.GET_KEY, read=True, levelled=True),
    Route("PUT", ITEM_PATH, kv.put, on_key(WRITE), operations.PUT_KEY, read=False, levelled=True),
    Route("DELETE", ITEM_PATH, kv.delete, on_key(DELETE), operations.DELETE_KEY, read=False, levelled=True),
    Route("GET", "/v1/kv", ranges.get_range, on_range(READ), operations.GET_RANGE, read=True, levelled=True),
    Route("POST", "/v1/batch", batch.post_batch, EACH, operations.BATCH, read=False, levelled=True),
    Route(
        "DELETE",
        "/v1/kv",
        transactions.delete_range,
        on_range(DELETE),
        operations.DELETE_RANGE,
        read=False,
        levelled=True,
    ),
    Route("POST", "/v1/txn", transactions.transact, EACH, operations.TXN, read=False, levelled=True),
    Route("POST", "/v1/compact", transactions.compact, anywhere(ADMIN), operations.COMPACT, read=False, levelled=False),
    Route("GET", "/v1/watch", watch.get_watch, on_range(WATCH), operations.WATCH, read=True, levelled=False),
    Route("POST", "/v1/leases", leases.grant, anywhere(LEASE), operations.GRANT, read=False, levelled=False),
    Route("GET", "/v1/leases", leases.get_leases, anywhere(LEASE), operations.LEASES, read=True, levelled=False),
    Route(
        "POST",
        "/v1/leases/keepalive",
        keepalives.keep_many_alive,
        anywhere(LEASE),
        operations.KEEP_MANY_ALIVE,
        read=False,
        levelled=False,
    ),
    Route("GET", LEASE_PATH, leases.get_lease, anywhere(LEASE), operations.LEASE, read=True, levelled=False),
    Route("DELETE", LEASE_PATH, leases.revoke, anywhere(LEASE), operations.REVOKE, read=False, levelled=False),
    Route(
        "POST", KEEPALIVE_PATH, leases.keep_alive, anywhere(LEASE), operations.KEEP_ALIVE, read=False, levelled=False
    ),
    Route("GET", RECEIPT_PATH, once.get_receipt, KNOWN, operations.RECEIPT, read=True, levelled=False),
    Route("GET", "/v1/snapshot", snapshot.get_snapshot, anywhere(ADMIN), operations.SNAPSHOT, read=True, levelled=True),
    Route("POST", "/v1/sessions", once.open_session, KNOWN, operations.OPEN_SESSION, read=False, levelled=False),
    Route("DELETE", SESSION_PATH, once.close_session, KNOWN, operations.CLOSE_SESSION, read=False, levelled=False),
    Route("GET", "/v1/cluster", cluster.get_cluster, KNOWN, operations.CLUSTER, read=True, levelled=False),
    Route(
        "POST",
        "/v1/cluster/members",
        cluster.add_member,
        anywhere(ADMIN),
        operations.ADD_MEMBER,
        read=False,
        levelled=False,
    ),
    Route(
        "DELETE",
        MEMBER_PATH,
        cluster.remove_member,
        anywhere(ADMIN),
        operations.REMOVE_MEMBER,
        read=False,
        levelled=False,
    ),
    Route("GET", "/v1/settings", settings.get_settings, KNOWN, operations.SETTINGS, read=True, levelled=False),
    Route("PUT", SETTING_PATH, settings.put_setting, anywhere(ADMIN), operations.SETTING, read=False, levelled=False),
    Route(
        "POST",
        "/v1/cluster/leader",
        cluster.transfer_leader,
        anywhere(ADMIN),
        operations.TRANSFER,
        read=False,
        levelled=False,
    ),
    Route("GET", "/v1/auth", auth.get_auth, KNOWN, auth_operations.AUTH, read=True, levelled=False),
    Route(
        "POST", "/v1/auth/enable", auth.enable_auth, anywhere(ADMIN), auth_operations.ENABLE, read=False, levelled=False
    ),
    Route(
        "POST",
        "/v1/auth/disable",
        auth.disable_auth,
        anywhere(ADMIN),
        auth_operations.DISABLE,
        read=False,
        levelled=False,
    ),
    Route(
        "POST",
        "/v1/auth/keys",
        auth.rotate_keys,
        anywhere(ADMIN),
        auth_operations.ROTATE_KEYS,
        read=False,
        levelled=False,
    ),
    Route("POST", "/v1/auth/token", auth.get_token, OPEN, auth_operations.TOKEN, read=False, levelled=False),
    Route("GET", "/v1/auth/users", users.get_users, anywhere(ADMIN), auth_operations.USERS, read=True, levelled=False),
    Route(
        "POST", "/v1/auth/users", users.add_user, anywhere(ADMIN), auth_operations.ADD_USER, read=False, levelled=False
    ),
    Route("GET", USER_PATH, users.get_user, anywhere(ADMIN), auth_operations.USER, read=True, levelled=False),
    Route(
        "DELETE", USER_PATH, users.delete_user, anywhere(ADMIN), auth_operations.DELETE_USER, read=False, levelled=False
    ),
    Route("PUT", PASSWORD_PATH, users.set_password, OWN, auth_operations.PASSWORD, read=False, levelled=False),
    Route(
        "POST",
        USER_GRANT_PATH,
        users.grant_role_to_user,
        anywhere(ADMIN),
        auth_operations.GRANT_ROLE,
        read=False,
        levelled=False,
    ),
    Route(
        "POST",
        USER_REVOKE_PATH,
        users.revoke_role_of_user,
        anywhere(ADMIN),
        auth_operations.REVOKE_ROLE,
        read=False,
        levelled=False,
    ),
    Route("GET", "/v1/auth/roles", users.get_roles, anywhere(ADMIN), auth_operations.ROLES, read=True, levelled=False),
    Route(
        "POST", "/v1/auth/roles", users.add_role, anywhere(ADMIN), auth_operations.ADD_ROLE, read=False, levelled=False
    ),
    Route("GET", ROLE_PATH, users.get_role, anywhere(ADMIN), auth_operations.ROLE, read=True, levelled=False),
    Route(
        "DELETE", ROLE_PATH, users.delete_role, anywhere(ADMIN), auth_operations.DELETE_ROLE, read=False, levelled=False
    ),
    Route(
        "POST",
        ROLE_GRANT_PATH,
        users.grant_permission,
        anywhere(ADMIN),
        auth_operations.GRANT_PERMISSION,
        read=False,
        levelled=False,
    ),
    Route(
        "POST",
        ROLE_REVOKE_PATH,
        users.revoke_permission,
        anywhere(ADMIN),
        auth_operations.REVOKE_PERMISSION,
        read=False,
        levelled=False,
    ),
    Route("GET", "/v1/odds", odds.get_odds, KNOWN, page_operations.ODDS, read=True, levelled=False),
    Route(
        "GET", "/v1/reports", reports.get_reports, anywhere(ADMIN), page_operations.REPORTS, read=True, levelled=False
    ),
    Route("GET", REPORT_PATH, reports.get_report, anywhere(ADMIN), page_operations.REPORT, read=True, levelled=False),
    Route("GET", "/ui", ui.get_page, OPEN, page_operations.PAGE, read=True, levelled=False),
    Route("GET", PAGE_PATH, ui.get_page_file, OPEN, page_operations.PAGE_FILE, read=True, levelled=False),
    Route("GET", "/livez", cluster.livez, OPEN, operations.LIVE, read=True, levelled=False),
    Route("GET", "/readyz", cluster.readyz, OPEN, operations.READY, read=True, levelled=False),
    Route("GET", "/openapi.json", cluster.get_openapi, OPEN, operations.DESCRIPTION, read=True, levelled=False),
    Route("GET", "/docs", cluster.get_docs, OPEN, operations.PAGE, read=True, levelled=False),
    Route("GET", "/debug/trace", cluster.get_trace, anywhere(ADMIN), operations.TRACE, read=True, levelled=False),
    Route("GET", "/metrics", cluster.metrics, METRICS, operations.METRICS, read=True, levelled=False),
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
