"""Handlers of users and roles."""

from typing import Annotated, Final, Literal

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from kvstore import limits
from kvstore.errors import AuthNotFound, BadRequest, KeyTooLong
from kvstore.http import parse
from kvstore.http.answer import Answer
from kvstore.http.asked import Base64Text, PlainText, asked, plain_bytes
from kvstore.http.auth import Name, Password, changed, gate_of, name_of
from kvstore.http.kv import Door
from kvstore.http.once import shaped
from kvstore.model.auth_commands import (
    ROLE_ADD,
    ROLE_DELETE,
    ROLE_GRANT,
    ROLE_REVOKE,
    USER_ADD,
    USER_DELETE,
    USER_GRANT,
    USER_PASSWORD,
    USER_REVOKE,
)
from kvstore.model.keys import prefix_end
from kvstore.model.permissions import VERBS, Permission, names_of, one_key

Verb = Literal["read", "write", "delete", "watch", "lease", "admin"]
_NO_END: Final = b""


class NewUserBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/auth/users`. Without a password the user is known by tokens of others, or a certificate."""

    name: Name
    password: Password | None = None


class PasswordBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `PUT /v1/auth/users/{name}/password`; null takes the password away."""

    password: Password | None


class RoleNameBody(msgspec.Struct, forbid_unknown_fields=True):
    """A role."""

    role: Name


class NewRoleBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/auth/roles`."""

    name: Name


class PermissionBody(msgspec.Struct, forbid_unknown_fields=True):
    """Verbs on one key, on the keys with a prefix (an empty one: all), or on those from `start` up to `end`.

    An `end` is exclusive; one that is empty or left out is none.
    """

    verbs: Annotated[list[Verb], Meta(min_length=1)]
    key: PlainText = UNSET
    key_base64: Base64Text = UNSET
    prefix: PlainText = UNSET
    prefix_base64: Base64Text = UNSET
    start: PlainText = UNSET
    start_base64: Base64Text = UNSET
    end: PlainText = UNSET
    end_base64: Base64Text = UNSET

    def permission(self) -> Permission:
        """As the model has it. Raises BadRequest, KeyTooLong."""
        key = self._given("key")
        prefix = self._given("prefix")
        start, end = self._given("start"), self._given("end")
        if sum((key is not None, prefix is not None, start is not None or end is not None)) != 1:
            raise BadRequest("give a key, a prefix (an empty one: all keys), or start and end")
        span: tuple[bytes, bytes | None]
        if key is not None:
            if not key:
                raise BadRequest("the key is empty; a key has at least one byte")
            span = one_key(key)
        elif prefix is not None:
            span = prefix, prefix_end(prefix)
        else:
            span = start or b"", end or None
            if span[1] is not None and span[0] >= span[1]:
                raise BadRequest("the end is not above the start: there is no key between them")
        for each in (key, prefix, start, end):
            if each is not None and len(each) > limits.KEY_BYTES_MAX:
                raise KeyTooLong(f"a key has {limits.KEY_BYTES_MAX} bytes at most")
        return sum({VERBS[verb] for verb in self.verbs}), *span

    def _given(self, name: str) -> bytes | None:
        plain, encoded = getattr(self, name), getattr(self, f"{name}_base64")
        return None if plain is UNSET and encoded is UNSET else plain_bytes(name, plain, encoded)


class UserBody(msgspec.Struct):
    """A user. `password`: whether there is one."""

    name: str
    password: bool
    roles: list[str]


class UsersBody(msgspec.Struct):
    """All users."""

    auth_revision: int
    users: list[UserBody]


class GrantedBody(msgspec.Struct):
    """Verbs on the keys from `start` up to `end` (exclusive); no end: up to the last key."""

    verbs: list[Verb]
    start: str | UnsetType = UNSET
    start_base64: bytes | UnsetType = UNSET
    end: str | UnsetType = UNSET
    end_base64: bytes | UnsetType = UNSET


class RoleBody(msgspec.Struct):
    """A role."""

    name: str
    permissions: list[GrantedBody]


class RolesBody(msgspec.Struct):
    """All roles."""

    auth_revision: int
    roles: list[RoleBody]


async def get_users(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """All users, with their roles."""
    timeout_s = parse.timeout_option(query)
    auth = await door.store.auth_now(timeout_s=timeout_s)
    users = [UserBody(name, bool(user.password), list(user.roles)) for name, user in sorted(auth.users.items())]
    return shaped(door, request, 200, UsersBody(auth.revision, users))


async def get_user(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A user, with its roles."""
    timeout_s = parse.timeout_option(query)
    name = name_of(raw_key, "user")
    user = (await door.store.auth_now(timeout_s=timeout_s)).users.get(name)
    if user is None:
        raise AuthNotFound(f"there is no user {name}")
    return shaped(door, request, 200, UserBody(name, bool(user.password), list(user.roles)))


async def add_user(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A new user, who may do nothing yet. Body: {"name", "password"}."""
    timeout_s = parse.timeout_option(query)
    body, took_s = await asked(door, request, NewUserBody, timeout_s=timeout_s)
    record = b"" if body.password is None else await gate_of(door).passwords.record_of(body.password)
    return await changed(door, request, USER_ADD, (body.name, record), timeout_s - took_s)


async def delete_user(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Remove a user; its tokens are void, and its streams end."""
    timeout_s = parse.timeout_option(query)
    return await changed(door, request, USER_DELETE, (name_of(raw_key, "user"),), timeout_s)


async def set_password(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Another password, one's own or, for who may admin, anybody's; the tokens of the old one are void."""
    timeout_s = parse.timeout_option(query)
    name = name_of(raw_key, "user")
    body, took_s = await asked(door, request, PasswordBody, timeout_s=timeout_s)
    record = b"" if body.password is None else await gate_of(door).passwords.record_of(body.password)
    return await changed(door, request, USER_PASSWORD, (name, record), timeout_s - took_s)


async def grant_role_to_user(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Give a user a role. Body: {"role"}."""
    return await _user_and_role(door, request, raw_key, query, USER_GRANT)


async def revoke_role_of_user(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Take a role from a user. Body: {"role"}."""
    return await _user_and_role(door, request, raw_key, query, USER_REVOKE)


async def _user_and_role(door: Door, request: web.BaseRequest, raw_key: str, query: str, action: int) -> Answer:
    timeout_s = parse.timeout_option(query)
    name = name_of(raw_key, "user")
    body, took_s = await asked(door, request, RoleNameBody, timeout_s=timeout_s)
    return await changed(door, request, action, (name, body.role), timeout_s - took_s)


async def get_roles(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """All roles, with their permissions."""
    timeout_s = parse.timeout_option(query)
    auth = await door.store.auth_now(timeout_s=timeout_s)
    roles = [_role(name, auth.permissions(name)) for name in sorted(auth.roles)]
    return shaped(door, request, 200, RolesBody(auth.revision, roles))


async def get_role(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A role, with its permissions."""
    timeout_s = parse.timeout_option(query)
    name = name_of(raw_key, "role")
    auth = await door.store.auth_now(timeout_s=timeout_s)
    if name not in auth.roles:
        raise AuthNotFound(f"there is no role {name}")
    return shaped(door, request, 200, _role(name, auth.permissions(name)))


async def add_role(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A new role, without permissions. Body: {"name"}."""
    timeout_s = parse.timeout_option(query)
    body, took_s = await asked(door, request, NewRoleBody, timeout_s=timeout_s)
    return await changed(door, request, ROLE_ADD, (body.name,), timeout_s - took_s)


async def delete_role(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Remove a role, from all users, too."""
    timeout_s = parse.timeout_option(query)
    return await changed(door, request, ROLE_DELETE, (name_of(raw_key, "role"),), timeout_s)


async def grant_permission(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Give a role verbs on a key, a prefix or a range."""
    return await _permission(door, request, raw_key, query, ROLE_GRANT)


async def revoke_permission(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Take verbs from a role, on exactly the range on which it has them."""
    return await _permission(door, request, raw_key, query, ROLE_REVOKE)


async def _permission(door: Door, request: web.BaseRequest, raw_key: str, query: str, action: int) -> Answer:
    timeout_s = parse.timeout_option(query)
    name = name_of(raw_key, "role")
    body, took_s = await asked(door, request, PermissionBody, timeout_s=timeout_s)
    return await changed(door, request, action, (name, *body.permission()), timeout_s - took_s)


def _role(name: str, permissions: list[Permission]) -> RoleBody:
    return RoleBody(name, [_granted(each) for each in permissions])


def _granted(permission: Permission) -> GrantedBody:
    verbs, start, end = permission
    start_text, start_encoded = _text(start)
    end_text, end_encoded = (UNSET, UNSET) if end is None else _text(end)
    return GrantedBody(names_of(verbs), start_text, start_encoded, end_text, end_encoded)  # type: ignore[arg-type]


def _text(key: bytes) -> tuple[str | UnsetType, bytes | UnsetType]:
    """Text where every program shows it, else base64."""
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return UNSET, key
    return (text, UNSET) if text.isprintable() else (UNSET, key)
