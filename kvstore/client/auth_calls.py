"""Users, roles and tokens, as methods of AsyncClient. What they mean: docs/security.md."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from kvstore.client.calls import JSON, Calls
from kvstore.client.results import decode_json, text_json
from kvstore.client.wire import Request
from kvstore.errors import BadRequest


class AuthCalls(Calls):
    """See AsyncClient. Each change is told by the auth revision that it has led to. Raises AuthRefused, AuthNotFound,
    and UpgradeIncomplete while a member is too old to know users and roles.
    """

    async def auth_status(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Whether auth is `enabled`, the `auth_revision`, and `user` and `roles` of who asks, on the node that
        answers.
        """
        return await self._ask("/v1/auth", timeout_s, timed=False)

    async def enable_auth(self, password: str | None = None, *, timeout_s: float | None = None) -> int:
        """From now on every request must say who it is. `password`: of root, who must have one else."""
        body = {} if password is None else {"password": password}
        return await self._changed("POST", "/v1/auth/enable", body, timeout_s)

    async def disable_auth(self, *, timeout_s: float | None = None) -> int:
        """Nobody is asked any more. Users and roles stay."""
        return await self._changed("POST", "/v1/auth/disable", None, timeout_s)

    async def rotate_keys(self, *, forget: bool = False, timeout_s: float | None = None) -> int:
        """Sign tokens with a new key. `forget`: those that were given before are void at once."""
        return await self._changed("POST", "/v1/auth/keys", {"forget": forget}, timeout_s, named=not forget)

    async def get_token(self, user: str, password: str, *, timeout_s: float | None = None) -> tuple[str, float]:
        """A token, and for how many seconds it is good. Raises Unauthenticated, TooManyTries."""
        body = json.dumps({"user": user, "password": password}).encode()
        request = Request("POST", "/v1/auth/token", "", JSON, body, write=False)
        told = decode_json((await self._send(request, timeout_s)).body, read=True)
        return str(told["token"]), float(told["expires_seconds"])

    async def users(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """All users: `name`, `password` (whether there is one), `roles`."""
        return list((await self._ask("/v1/auth/users", timeout_s))["users"])

    async def user(self, name: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """One of them."""
        return await self._ask(f"/v1/auth/users/{quote(name, safe='')}", timeout_s)

    async def add_user(self, name: str, password: str | None = None, *, timeout_s: float | None = None) -> int:
        """A new user, who may do nothing yet; without a password one who is known by a token of others, or a
        certificate.
        """
        return await self._changed("POST", "/v1/auth/users", {"name": name, "password": password}, timeout_s)

    async def delete_user(self, name: str, *, timeout_s: float | None = None) -> int:
        """Remove a user."""
        return await self._changed("DELETE", f"/v1/auth/users/{quote(name, safe='')}", None, timeout_s)

    async def set_password(self, name: str, password: str | None, *, timeout_s: float | None = None) -> int:
        """Another password, None for none; tokens that were given for the old one are void."""
        path = f"/v1/auth/users/{quote(name, safe='')}/password"
        return await self._changed("PUT", path, {"password": password}, timeout_s, named=True)

    async def grant_role(self, user: str, role: str, *, timeout_s: float | None = None) -> int:
        """Give a user a role. May be repeated at will."""
        path = f"/v1/auth/users/{quote(user, safe='')}/grant"
        return await self._changed("POST", path, {"role": role}, timeout_s, named=True)

    async def revoke_role(self, user: str, role: str, *, timeout_s: float | None = None) -> int:
        """Take a role from a user."""
        return await self._changed("POST", f"/v1/auth/users/{quote(user, safe='')}/revoke", {"role": role}, timeout_s)

    async def roles(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """All roles: `name`, and `permissions` with their `verbs` from `start` up to `end` (exclusive; each may be
        `..._base64`).
        """
        return list((await self._ask("/v1/auth/roles", timeout_s))["roles"])

    async def role(self, name: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """One of them."""
        return await self._ask(f"/v1/auth/roles/{quote(name, safe='')}", timeout_s)

    async def add_role(self, name: str, *, timeout_s: float | None = None) -> int:
        """A new role, without permissions."""
        return await self._changed("POST", "/v1/auth/roles", {"name": name}, timeout_s)

    async def delete_role(self, name: str, *, timeout_s: float | None = None) -> int:
        """Remove a role, from all users, too."""
        return await self._changed("DELETE", f"/v1/auth/roles/{quote(name, safe='')}", None, timeout_s)

    async def grant_permission(
        self,
        role: str,
        verbs: Sequence[str],
        *,
        key: bytes | None = None,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Give a role `verbs` (read, write, delete, watch, lease, admin) on a key, a prefix, or from `start` up to and
        without `end`. May be repeated at will.
        """
        body = _permission(verbs, key=key, prefix=prefix, start=start, end=end)
        return await self._changed("POST", f"/v1/auth/roles/{quote(role, safe='')}/grant", body, timeout_s, named=True)

    async def revoke_permission(
        self,
        role: str,
        verbs: Sequence[str],
        *,
        key: bytes | None = None,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """Take `verbs` from a role, on exactly the range on which it has them."""
        body = _permission(verbs, key=key, prefix=prefix, start=start, end=end)
        return await self._changed("POST", f"/v1/auth/roles/{quote(role, safe='')}/revoke", body, timeout_s)

    async def _ask(self, path: str, timeout_s: float | None, *, timed: bool = True) -> dict[str, Any]:
        request = Request("GET", path, "", JSON, None, write=False, timed=timed)
        return decode_json((await self._send(request, timeout_s)).body, read=True)

    async def _changed(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float | None, *, named: bool = False
    ) -> int:
        data = None if body is None else json.dumps(body).encode()
        request = Request(method, path, "", JSON, data, write=True, named=named)
        return int(decode_json((await self._send(request, timeout_s)).body, read=False)["auth_revision"])


def _permission(verbs: Sequence[str], **keys: bytes | None) -> dict[str, Any]:
    given = {name: key for name, key in keys.items() if key is not None}
    if set(given) not in ({"key"}, {"prefix"}, {"start"}, {"end"}, {"start", "end"}):
        raise BadRequest("give a key, a prefix, or start and end")
    body: dict[str, Any] = {"verbs": list(verbs)}
    for name, key in given.items():
        body |= text_json(name, key)
    return body
