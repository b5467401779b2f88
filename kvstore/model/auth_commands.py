"""Operations on users, roles and signing keys, `(OP_AUTH, action, arguments)`: what each action takes, and its bounds.

    AUTH_ENABLE    (signing key, root's password record | b"")     b"": root has one already
    AUTH_DISABLE   ()
    USER_ADD       (user, password record | b"")                   b"": the user is known by other means only
    USER_DELETE    (user,)
    USER_PASSWORD  (user, password record | b"")
    USER_GRANT     (user, role)
    USER_REVOKE    (user, role)
    ROLE_ADD       (role,)
    ROLE_DELETE    (role,)
    ROLE_GRANT     (role, verbs, start, end | None)
    ROLE_REVOKE    (role, verbs, start, end | None)                of exactly this range
    KEY_ADD        (signing key, 1 to forget all others, 0 to keep the newest of them)

No password is ever in here: a password record holds a salt and a hash (`kvstore.security.passwords`). It is a secret
all the same, and so is a signing key: neither may appear in a log or a message (`kvstore.model.commands.shown`).
"""

import re
from collections.abc import Callable
from typing import Any, Final

from kvstore.limits import AUTH_NAME_CHARS_MAX, KEY_BYTES_MAX, PASSWORD_RECORD_BYTES_MAX, SIGNING_KEY_BYTES
from kvstore.model.permissions import ALL_VERBS

AUTH_ENABLE: Final = 0
AUTH_DISABLE: Final = 1
USER_ADD: Final = 2
USER_DELETE: Final = 3
USER_PASSWORD: Final = 4
USER_GRANT: Final = 5
USER_REVOKE: Final = 6
ROLE_ADD: Final = 7
ROLE_DELETE: Final = 8
ROLE_GRANT: Final = 9
ROLE_REVOKE: Final = 10
KEY_ADD: Final = 11

ROOT: Final = "root"

NAME: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.@+-]{{0,{AUTH_NAME_CHARS_MAX - 1}}}")


def is_name(text: Any) -> bool:
    """Whether it can be the name of a user or role."""
    return type(text) is str and NAME.fullmatch(text) is not None


def known_auth(action: Any, arguments: Any) -> bool:
    """Whether this is an action that this build can apply."""
    fits = _KNOWN.get(action) if type(action) is int else None
    if fits is None or type(arguments) is not tuple:
        return False
    try:
        return fits(*arguments)
    except TypeError:
        return False


def _is_record(record: Any) -> bool:
    return type(record) is bytes and len(record) <= PASSWORD_RECORD_BYTES_MAX


def _is_secret(secret: Any) -> bool:
    return type(secret) is bytes and len(secret) == SIGNING_KEY_BYTES


def _is_permission(role: Any, verbs: Any, start: Any, end: Any) -> bool:
    return (
        is_name(role)
        and type(verbs) is int
        and 0 < verbs <= ALL_VERBS
        and type(start) is bytes
        and len(start) <= KEY_BYTES_MAX
        and (end is None or (type(end) is bytes and start < end and len(end) <= KEY_BYTES_MAX + 1))
    )


_KNOWN: Final[dict[int, Callable[..., bool]]] = {
    AUTH_ENABLE: lambda secret, record: _is_secret(secret) and _is_record(record),
    AUTH_DISABLE: lambda: True,
    USER_ADD: lambda user, record: is_name(user) and _is_record(record),
    USER_DELETE: lambda user: is_name(user),
    USER_PASSWORD: lambda user, record: is_name(user) and _is_record(record),
    USER_GRANT: lambda user, role: is_name(user) and is_name(role),
    USER_REVOKE: lambda user, role: is_name(user) and is_name(role),
    ROLE_ADD: lambda role: is_name(role),
    ROLE_DELETE: lambda role: is_name(role),
    ROLE_GRANT: _is_permission,
    ROLE_REVOKE: _is_permission,
    KEY_ADD: lambda secret, alone: _is_secret(secret) and alone in (0, 1) and type(alone) is int,
}
