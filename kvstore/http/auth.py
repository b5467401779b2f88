"""Handlers of auth itself: whether it is enabled, tokens, and the keys that sign them."""

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from kvstore import limits
from kvstore.errors import BadRequest
from kvstore.guard.gate import Gate
from kvstore.guard.secrets import signing_key
from kvstore.http import parse
from kvstore.http.answer import Answer
from kvstore.http.asked import asked
from kvstore.http.kv import Door
from kvstore.http.once import shaped
from kvstore.model.auth_commands import AUTH_DISABLE, AUTH_ENABLE, KEY_ADD, NAME

Name = Annotated[str, Meta(pattern=rf"^{NAME.pattern}$")]
Password = Annotated[str, Meta(min_length=limits.PASSWORD_BYTES_MIN, max_length=limits.PASSWORD_BYTES_MAX)]


class AuthBody(msgspec.Struct):
    """Whether auth is enabled, and who asks: null for nobody. `auth_revision`: how often users or roles changed."""

    enabled: bool
    auth_revision: int
    user: str | None
    roles: list[str]


class AuthChangedBody(msgspec.Struct):
    """What users and roles are is told by this auth revision."""

    auth_revision: int


class EnableBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/auth/enable`. Without a password root must have one already."""

    password: Password | None = None


class KeysBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/auth/keys`. `forget`: what older keys have signed is void at once."""

    forget: bool = False


class LoginBody(msgspec.Struct, forbid_unknown_fields=True):
    """Body of `POST /v1/auth/token`."""

    user: str
    password: str


class TokenBody(msgspec.Struct):
    """A token, and for how many seconds it is good."""

    token: str
    user: str
    expires_seconds: float


async def get_auth(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Whether auth is enabled, and who asks."""
    parse.no_options(query)
    auth = gate_of(door).store.auth
    user = None if door.caller is None else door.caller.user
    known = None if user is None else auth.users.get(user)
    body = AuthBody(auth.enabled, auth.revision, user, [] if known is None else list(known.roles))
    return shaped(door, request, 200, body)


async def enable_auth(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Enable auth. Body: {"password"} of root, or {} if root has one. From then on every request must say who it is."""
    timeout_s = parse.timeout_option(query)
    body, took_s = await asked(door, request, EnableBody, timeout_s=timeout_s)
    record = b"" if body.password is None else await gate_of(door).passwords.record_of(body.password)
    return await changed(door, request, AUTH_ENABLE, (signing_key(), record), timeout_s - took_s)


async def disable_auth(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Disable auth. Users and roles stay, and mean nothing."""
    timeout_s = parse.timeout_option(query)
    return await changed(door, request, AUTH_DISABLE, (), timeout_s)


async def rotate_keys(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """Sign tokens with a new key. Body: {"forget"}: true makes all tokens void that were given before."""
    timeout_s = parse.timeout_option(query)
    body, took_s = await asked(door, request, KeysBody, timeout_s=timeout_s)
    return await changed(door, request, KEY_ADD, (signing_key(), int(body.forget)), timeout_s - took_s)


async def get_token(door: Door, request: web.BaseRequest, raw_key: str, query: str) -> Answer:
    """A token for a user and a password. Body: {"user", "password"}."""
    timeout_s = parse.timeout_option(query)
    body, took_s = await asked(door, request, LoginBody, timeout_s=timeout_s)
    token, expires_s = await gate_of(door).login(body.user, body.password, address_of(request), timeout_s - took_s)
    return shaped(door, request, 200, TokenBody(token, body.user, expires_s))


async def changed(
    door: Door, request: web.BaseRequest, action: int, arguments: tuple[object, ...], timeout_s: float
) -> Answer:
    """Changes users, roles or keys; the answer once this node has applied it."""
    revision = await door.store.change_auth(action, arguments, timeout_s=timeout_s)
    await gate_of(door).store.auth_reached(revision, timeout_s=timeout_s)
    return shaped(door, request, 200, AuthChangedBody(revision))


def gate_of(door: Door) -> Gate:
    """Who knows callers."""
    return door.gate


def name_of(raw_key: str, what: str) -> str:
    """The name of a user or role in a path. Raises BadRequest."""
    name = parse.key_of(raw_key).decode(errors="replace")
    if NAME.fullmatch(name) is None:
        raise BadRequest(
            f"this cannot be the name of a {what}: it has 1 to {limits.AUTH_NAME_CHARS_MAX} of A-Z a-z 0-9 _ . @ + -"
        )
    return name


def address_of(request: web.BaseRequest) -> str:
    """Where the request came from, without a port."""
    transport = request.transport
    peer = None if transport is None else transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else ""
