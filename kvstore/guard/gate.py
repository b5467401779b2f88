"""Who asks. A caller is known by a token, or a password that is exchanged for one, or the certificate of a connection.

What was verified is remembered, so that no request on a hot path has its signature checked; whether it still is good
(not expired, the user there, its password the same, the key still in the file) is asked every time.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple, Protocol
from weakref import WeakSet

from kvstore import limits
from kvstore.clock import Clock, SystemClock
from kvstore.errors import AuthChanged, AuthRefused, KvError, Unauthenticated
from kvstore.guard.secrets import signing_key
from kvstore.model.auth_commands import KEY_ADD
from kvstore.model.permissions import Rights
from kvstore.node.checked import checked_at
from kvstore.security import jwt_tokens, tokens
from kvstore.security.key_file import KeyFile
from kvstore.security.passwords import Passwords
from kvstore.security.peer_names import user_of
from kvstore.security.tokens import BadToken, ShortToken
from kvstore.security.tries import Tries
from kvstore.state.auth import Auth
from kvstore.telemetry.audit import AuditLog

_SCHEME: Final = "bearer "
_FOREVER: Final = float("inf")
_CATCH_UP_S: Final = 1.0


class AuthStore(Protocol):
    """What is needed of a node."""

    @property
    def auth(self) -> Auth:
        """Users and roles as this node has applied them."""

    def on_auth_changed(self, listener: Callable[[], None]) -> None:
        """Calls `listener` whenever they have changed, before anything that comes behind it is answered."""

    async def auth_reached(self, auth_revision: int, *, timeout_s: float) -> None:
        """Waits until this node has applied so much of it. Raises DeadlineExceeded."""

    async def auth_now(self, *, timeout_s: float) -> Auth:
        """Users and roles with every change that was acknowledged before."""

    async def change_auth(self, action: int, arguments: tuple[Any, ...], *, timeout_s: float) -> int:
        """Changes them (`kvstore.model.auth_commands`); the auth revision then. Raises AuthRefused, AuthNotFound."""


class Caller(NamedTuple):
    """Who asks. `source`: token, jwt, password or certificate. `since`: of the password, None where there is none (rule
    A6 of `kvstore.state.auth`). `generation`: of the key file, for a token of others.
    """

    user: str
    source: str
    expires_s: float = _FOREVER
    since: int | None = None
    generation: int | None = None


class Gate:
    """One for each node. `keys`, `audience`: for tokens of others, if any are taken. `token_s`: how long ours last."""

    def __init__(
        self,
        store: AuthStore,
        *,
        keys: KeyFile | None = None,
        audience: str = "kvstore",
        token_s: float = 900.0,
        metrics_private: bool = False,
        clock: Clock | None = None,
        audit: AuditLog | None = None,
    ) -> None:
        self.store = store
        self.enabled = store.auth.enabled
        """Whether anything is checked at all."""
        self.metrics_private = metrics_private
        self.passwords = Passwords()
        self.streams: WeakSet[Any] = WeakSet()
        self.denied_total = 0
        self.audit = audit
        self._keys = keys
        self._audience = audience
        self._token_s = token_s
        self._clock = clock or SystemClock()
        self._tries = Tries(time.monotonic if clock is None else clock.monotonic)
        self._known: dict[str, Caller] = {}
        store.on_auth_changed(self._changed)

    def _changed(self) -> None:
        self.enabled = self.store.auth.enabled
        self._known.clear()
        for stream in list(self.streams):
            stream.look()

    def close(self) -> None:
        """No more passwords."""
        self.passwords.close()

    def now_s(self) -> float:
        """Seconds since 1970."""
        return self._clock.wall_ms() / 1000

    # -- who

    def caller(self, authorization: str | None, certificate: Mapping[str, Any] | None = None) -> Caller:
        """Who sent a request with this header, over a connection with this certificate. Raises Unauthenticated."""
        if authorization is None:
            user = user_of(certificate)
            if user is None:
                raise Unauthenticated("auth is enabled: say who you are by a token (Authorization: Bearer TOKEN)")
            return self._there(Caller(user, "certificate"))
        caller = self._known.get(authorization)
        if caller is None:
            if authorization[: len(_SCHEME)].lower() != _SCHEME:
                raise Unauthenticated("the header Authorization is not of the form Bearer TOKEN")
            caller = self.of_token(authorization[len(_SCHEME) :].strip())
            if len(self._known) >= limits.TOKENS_CACHED_MAX:
                del self._known[next(iter(self._known))]
            self._known[authorization] = caller
        return self._there(caller)

    def of_token(self, text: str) -> Caller:
        """Who has this token. Raises Unauthenticated."""
        try:
            if text.startswith(tokens.PREFIX):
                short = tokens.read(text, self.store.auth.keys)
                return self._there(Caller(short.user, "token", short.expires_s, short.since))
            if self._keys is None:
                raise BadToken("the token is none of this cluster, and it takes no others")
            generation = self._keys.look()
            claims = jwt_tokens.read(text, self._keys.keys, self._audience)
        except BadToken as bad:
            raise Unauthenticated(str(bad)) from None
        expires_s = claims.expires_s + limits.TOKEN_CLOCK_S_MAX
        return self._there(Caller(claims.user, "jwt", expires_s, None, generation))

    def _there(self, caller: Caller) -> Caller:
        """The same, if it still is good."""
        known = self.store.auth.users.get(caller.user)
        if known is None or (caller.since is not None and caller.since != known.since):
            # Nothing more: whether there is a user of this name is nobody's business.
            raise Unauthenticated("the token, or what else says who you are, is not good (any more)")
        if caller.expires_s <= self.now_s():
            raise Unauthenticated("the token has expired")
        if caller.generation is not None and self._keys is not None and self._keys.look() != caller.generation:
            self._known.clear()
            raise Unauthenticated("the keys of tokens have changed: send it again")
        return caller

    def rights(self, caller: Caller) -> Rights:
        """What `caller` may do now. Raises Unauthenticated if it is not good any more."""
        self._there(caller)
        return self.store.auth.rights(caller.user)

    # -- passwords

    async def of_password(self, user: str, password: str, address: str) -> Caller:
        """Who has this password. Raises Unauthenticated, TooManyTries, Overloaded."""
        try:
            caller = await self._of_password(user, password, address)
        except KvError as refused:
            self._told(user, address, refused.code)
            raise
        self._told(user, address, None)
        return caller

    def _told(self, user: str, address: str, code: str | None) -> None:
        """The audit log hears of every password that was tried, whoever's door it came by."""
        if self.audit is not None and self.audit.wants("auth", refused=code is not None):
            # What is nobody's name may be anything, a password in the wrong place even.
            shown = user if user in self.store.auth.users else None
            self.audit.note(user=shown, source="password", address=address, kind="auth", what="login", code=code)

    async def _of_password(self, user: str, password: str, address: str) -> Caller:
        self._tries.take(user, address)
        record, since = self._record(user)
        good = await self.passwords.is_of(record, password)
        if not good or self._record(user) != (record, since):
            # The password may be a new one, of which this node has not heard yet.
            with suppress(KvError):
                await self.store.auth_now(timeout_s=_CATCH_UP_S)
            newer = self._record(user)
            good = newer != (record, since) and await self.passwords.is_of(newer[0], password)
            record, since = newer
        if not good or self._record(user) != (record, since):
            raise Unauthenticated("the user or the password is wrong")
        self._tries.give_back(user, address)
        return Caller(user, "password", _FOREVER, since)

    def _record(self, user: str) -> tuple[bytes, int]:
        known = self.store.auth.users.get(user)
        return (b"", 0) if known is None else (known.password, known.since)

    async def login(self, user: str, password: str, address: str, timeout_s: float) -> tuple[str, float]:
        """A token for a password, and for how many seconds it is good. Raises AuthRefused where auth is not enabled."""
        if not self.enabled:
            raise AuthRefused("auth is not enabled: no token is needed, and none is given")
        caller = await self.of_password(user, password, address)
        await self._with_key(timeout_s)
        token = ShortToken(user, caller.since or 0, self.now_s() + self._token_s)
        return tokens.sign(token, self.store.auth.keys), self._token_s

    async def _with_key(self, timeout_s: float) -> None:
        """There is a key to sign with; a cluster that began as a copy of another one has none yet."""
        while not self.store.auth.keys:
            at = self.store.auth.revision
            try:
                with checked_at(at):
                    reached = await self.store.change_auth(KEY_ADD, (signing_key(), 1), timeout_s=timeout_s)
            except AuthChanged:
                reached = at + 1
            await self.store.auth_reached(reached, timeout_s=timeout_s)
