"""Users, roles and signing keys, replicated with everything else.

A1. The auth revision rises by one with every change of anything in here, and by nothing else. It is no store revision.
A2. An operation that a node checked for somebody names the auth revision that it was checked at. It is carried out
    only at that very one: whatever was changed in between, the node looks again. So a right that was taken away is gone
    for everything that stands behind that in the log, whichever node had checked it and however late it heard.
A3. While auth is enabled, an operation of a client that names no auth revision is refused.
A4. What was carried out under a name before (a session's sequence, an idempotency key) is answered again all the same:
    it was allowed then, and its caller has to learn that it was done.
A5. `root` may do everything. It cannot be deleted, nor lose its password, while auth is enabled.
A6. A user's `since` is the auth revision of its last password, or of its making. A token names it: a new password, or
    another user of the same name, makes older tokens void.
A7. The newest signing key signs, the one before it is still good for what it signed.
"""

from collections.abc import Callable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import msgpack

from kvstore.model.auth_commands import (
    AUTH_DISABLE,
    AUTH_ENABLE,
    KEY_ADD,
    ROLE_ADD,
    ROLE_DELETE,
    ROLE_GRANT,
    ROLE_REVOKE,
    ROOT,
    USER_ADD,
    USER_DELETE,
    USER_GRANT,
    USER_PASSWORD,
    USER_REVOKE,
    known_auth,
)
from kvstore.model.permissions import Permission, Rights
from kvstore.model.results import APPLIED, AUTH_NOT_FOUND, AUTH_REFUSED, OpResult
from kvstore.state.settings import auth_bound

_USER: Final = 0
_ROLE: Final = 1
_KEY: Final = 2

NOBODY: Final = Rights()
_EVERYTHING: Final = Rights(everything=True)
_KEYS_KEPT: Final = 2

Span = tuple[bytes, bytes | None]


class User(NamedTuple):
    """`password`: a record of `kvstore.security.passwords`, empty for none. `since`: see A6."""

    password: bytes
    since: int
    roles: tuple[str, ...]


class _Refused(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.result = OpResult(status, 0, 0, why.encode())


class Auth:
    """The rules above, on plain dicts."""

    __slots__ = ("_rights", "digest", "enabled", "keys", "revision", "roles", "users")

    def __init__(self) -> None:
        self.enabled = False
        self.revision = 0
        self.users: dict[str, User] = {}
        self.roles: dict[str, dict[Span, int]] = {}
        self.keys: list[tuple[int, bytes]] = []
        """(number, secret), the newest last."""
        self.digest = 0
        self._rights: dict[str, Rights] = {}

    # -- asked by nodes

    def rights(self, user: str) -> Rights:
        """What `user` may do now; nothing if there is no such user."""
        known = self.users.get(user)
        if known is None:
            return NOBODY
        if user == ROOT:
            return _EVERYTHING
        found = self._rights.get(user)
        if found is None:
            permissions = (each for role in known.roles for each in self.permissions(role))
            found = self._rights[user] = Rights(permissions)
        return found

    def permissions(self, role: str) -> list[Permission]:
        """Those of `role`, by their ranges; none if there is no such role."""
        rows = sorted(
            self.roles.get(role, {}).items(), key=lambda row: (row[0][0], row[0][1] is None, row[0][1] or b"")
        )
        return [(verbs, start, end) for (start, end), verbs in rows]

    # -- applied

    def apply(self, action: int, arguments: tuple[Any, ...], settings: Mapping[str, int]) -> OpResult:
        """Carry out an operation of `kvstore.model.auth_commands`. The result's revision is the auth revision."""
        try:
            changed = _DO[action](self, settings, *arguments)
        except _Refused as refused:
            return refused.result._replace(revision=self.revision)
        if changed:
            self.revision += 1
            self._settle()
        return OpResult(APPLIED, self.revision, int(changed))

    def _settle(self) -> None:
        self._rights = {}
        state = blake2b(digest_size=8)
        state.update(msgpack.packb((self.enabled, self.revision, [*self.rows()])))
        self.digest = int.from_bytes(state.digest(), "little")

    def _enable(self, settings: Mapping[str, int], secret: bytes, record: bytes) -> bool:
        if self.enabled:
            raise _Refused(AUTH_REFUSED, "auth is enabled already")
        if record:
            roles = self.users[ROOT].roles if ROOT in self.users else ()
            self.users[ROOT] = User(record, self.revision + 1, roles)
        elif ROOT not in self.users or not self.users[ROOT].password:
            raise _Refused(AUTH_REFUSED, f"there is no user {ROOT} with a password: nobody could disable it again")
        self.enabled = True
        return self._add_key(settings, secret, 1)

    def _disable(self, _: Mapping[str, int]) -> bool:
        changed, self.enabled = self.enabled, False
        return changed

    def _add_user(self, settings: Mapping[str, int], user: str, record: bytes) -> bool:
        if user in self.users:
            raise _Refused(AUTH_REFUSED, f"there is a user {user} already")
        _bounded(settings, "auth_users_max", len(self.users), "users")
        self.users[user] = User(record, self.revision + 1, ())
        return True

    def _delete_user(self, _: Mapping[str, int], user: str) -> bool:
        self._user(user)
        self._not_root(user, "be deleted")
        del self.users[user]
        return True

    def _set_password(self, _: Mapping[str, int], user: str, record: bytes) -> bool:
        known = self._user(user)
        if not record:
            self._not_root(user, "lose its password")
        self.users[user] = User(record, self.revision + 1, known.roles)
        return True

    def _grant_user(self, settings: Mapping[str, int], user: str, role: str) -> bool:
        known = self._user(user)
        self._role(role)
        if role in known.roles:
            return False
        _bounded(settings, "auth_user_roles_max", len(known.roles), "roles of one user")
        self.users[user] = known._replace(roles=tuple(sorted((*known.roles, role))))
        return True

    def _revoke_user(self, _: Mapping[str, int], user: str, role: str) -> bool:
        known = self._user(user)
        if role not in known.roles:
            raise _Refused(AUTH_NOT_FOUND, f"{user} does not have the role {role}")
        self.users[user] = known._replace(roles=tuple(each for each in known.roles if each != role))
        return True

    def _add_role(self, settings: Mapping[str, int], role: str) -> bool:
        if role in self.roles:
            raise _Refused(AUTH_REFUSED, f"there is a role {role} already")
        _bounded(settings, "auth_roles_max", len(self.roles), "roles")
        self.roles[role] = {}
        return True

    def _delete_role(self, _: Mapping[str, int], role: str) -> bool:
        self._role(role)
        del self.roles[role]
        for user, known in self.users.items():
            if role in known.roles:
                self.users[user] = known._replace(roles=tuple(each for each in known.roles if each != role))
        return True

    def _grant_role(self, settings: Mapping[str, int], role: str, verbs: int, start: bytes, end: bytes | None) -> bool:
        held = self._role(role)
        had = held.get((start, end), 0)
        if not had:
            _bounded(settings, "auth_role_ranges_max", len(held), "ranges of one role")
        held[start, end] = had | verbs
        return had | verbs != had

    def _revoke_role(self, _: Mapping[str, int], role: str, verbs: int, start: bytes, end: bytes | None) -> bool:
        held = self._role(role)
        had = held.get((start, end), 0)
        if not had & verbs:
            raise _Refused(AUTH_NOT_FOUND, f"{role} has no such permission on exactly this range")
        if left := had & ~verbs:
            held[start, end] = left
        else:
            del held[start, end]
        return True

    def _add_key(self, _: Mapping[str, int], secret: bytes, alone: int) -> bool:
        # Numbers are never used again: no token is taken for one of another key.
        kept = [] if alone else self.keys[-(_KEYS_KEPT - 1) :]
        self.keys = [*kept, (self.revision + 1, secret)]
        return True

    def _user(self, user: str) -> User:
        known = self.users.get(user)
        if known is None:
            raise _Refused(AUTH_NOT_FOUND, f"there is no user {user}")
        return known

    def _role(self, role: str) -> dict[Span, int]:
        held = self.roles.get(role)
        if held is None:
            raise _Refused(AUTH_NOT_FOUND, f"there is no role {role}")
        return held

    def _not_root(self, user: str, what: str) -> None:
        if user == ROOT and self.enabled:
            raise _Refused(AUTH_REFUSED, f"{ROOT} cannot {what} while auth is enabled")

    # -- another cluster, snapshots

    def begin_anew(self, *, opened: bool) -> None:
        """Rule N4 of `anew`."""
        if not self.revision:
            return
        self.keys = []
        if opened:
            self.enabled = False
        self.revision += 1
        self._settle()

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """All of it, in an order that the content alone decides."""
        for name, user in sorted(self.users.items()):
            yield (_USER, name, user.password, user.since, user.roles)
        for role in sorted(self.roles):
            yield (_ROLE, role, [*self.permissions(role)])
        for number, secret in self.keys:
            yield (_KEY, number, secret)

    def copy(self) -> "Auth":
        """The same, to be kept while this one changes."""
        copied = Auth()
        copied.enabled, copied.revision, copied.digest = self.enabled, self.revision, self.digest
        copied.users, copied.keys = dict(self.users), list(self.keys)
        copied.roles = {role: dict(held) for role, held in self.roles.items()}
        return copied

    def add_row(self, row: Any) -> None:
        """Take back one of `rows`. Raises ValueError or TypeError for anything else."""
        kind, *rest = row
        if kind == _USER:
            name, password, since, roles = rest
            _check(known_auth(USER_ADD, (name, password)) and name not in self.users)
            _check(type(since) is int and since > 0 and type(roles) is tuple)
            self.users[name] = User(password, since, roles)
        elif kind == _ROLE:
            role, permissions = rest
            _check(known_auth(ROLE_ADD, (role,)) and role not in self.roles)
            for verbs, start, end in permissions:
                _check(known_auth(ROLE_GRANT, (role, verbs, start, end)))
            self.roles[role] = {(start, end): verbs for verbs, start, end in permissions}
        else:
            number, secret = rest
            _check(kind == _KEY and type(number) is int and number > 0 and known_auth(KEY_ADD, (secret, 0)))
            self.keys.append((number, secret))

    def loaded(self, *, enabled: bool, revision: int) -> None:
        """All rows were added. Raises ValueError if they do not fit together."""
        self.enabled, self.revision = enabled, revision
        _check(all(role in self.roles for user in self.users.values() for role in user.roles))
        _check(all(user.since <= revision for user in self.users.values()))
        _check(all(number <= revision for number, _ in self.keys) and len(self.keys) <= _KEYS_KEPT)
        _check(not enabled or ROOT in self.users)
        self._settle()


def _bounded(settings: Mapping[str, int], name: str, count: int, what: str) -> None:
    if count >= auth_bound(settings, name):
        raise _Refused(AUTH_REFUSED, f"there are {count} {what} already")


def _check(holds: bool) -> None:
    if not holds:
        raise ValueError("users, roles or keys that cannot be")


_DO: Final[dict[int, Callable[..., bool]]] = {
    AUTH_ENABLE: Auth._enable,
    AUTH_DISABLE: Auth._disable,
    USER_ADD: Auth._add_user,
    USER_DELETE: Auth._delete_user,
    USER_PASSWORD: Auth._set_password,
    USER_GRANT: Auth._grant_user,
    USER_REVOKE: Auth._revoke_user,
    ROLE_ADD: Auth._add_role,
    ROLE_DELETE: Auth._delete_role,
    ROLE_GRANT: Auth._grant_role,
    ROLE_REVOKE: Auth._revoke_role,
    KEY_ADD: Auth._add_key,
}
