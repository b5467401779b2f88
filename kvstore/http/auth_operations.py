"""What the routes of users, roles and tokens take and answer; see `operations`."""

from typing import Final

from kvstore import errors, limits
from kvstore.http import auth, parameters, users
from kvstore.http.answer import JSON, MSGPACK
from kvstore.http.operations import BODY, READ, STAMPED, WRITE, Operation, Shape, Told
from kvstore.http.parameters import Parameter
from kvstore.model.auth_commands import NAME

_CHANGE: Final = (*WRITE, *BODY, errors.AuthRefused, errors.AuthNotFound, errors.UpgradeIncomplete)


def _both(shape: Shape) -> dict[str, Shape]:
    return {JSON: shape, MSGPACK: shape}


def _told(shape: Shape, about: str) -> dict[int, Told]:
    return {200: Told(about, _both(shape), (STAMPED,))}


def _name(about: str) -> Parameter:
    form = {"type": "string", "minLength": 1, "maxLength": limits.AUTH_NAME_CHARS_MAX, "pattern": f"^{NAME.pattern}$"}
    return Parameter("name", about, form | {"examples": ["app"]})


_CHANGED: Final = _told(auth.AuthChangedBody, "Done; it holds on the node that answers.")
_USER: Final = _name("The user.")
_ROLE: Final = _name("The role.")


def _change(body: Shape | None = None, given: Parameter | None = None) -> Operation:
    content = None if body is None else _both(body)
    return Operation(parameters.TIMEOUT, _CHANGED, _CHANGE, given=given, body=content)


AUTH: Final = Operation(parameters.NOTHING, _told(auth.AuthBody, "How it is on the node that answers."))
ENABLE: Final = _change(auth.EnableBody)
DISABLE: Final = _change()
ROTATE_KEYS: Final = _change(auth.KeysBody)
TOKEN: Final = Operation(
    parameters.TIMEOUT,
    _told(auth.TokenBody, "The token."),
    (*_CHANGE, errors.Unauthenticated, errors.TooManyTries),
    body=_both(auth.LoginBody),
)
USERS: Final = Operation(parameters.TIMEOUT, _told(users.UsersBody, "All users."), READ)
USER: Final = Operation(
    parameters.TIMEOUT, _told(users.UserBody, "The user."), (*READ, errors.AuthNotFound), given=_USER
)
ADD_USER: Final = _change(users.NewUserBody)
DELETE_USER: Final = _change(given=_USER)
PASSWORD: Final = _change(users.PasswordBody, _USER)
GRANT_ROLE: Final = _change(users.RoleNameBody, _USER)
REVOKE_ROLE: Final = _change(users.RoleNameBody, _USER)
ROLES: Final = Operation(parameters.TIMEOUT, _told(users.RolesBody, "All roles."), READ)
ROLE: Final = Operation(
    parameters.TIMEOUT, _told(users.RoleBody, "The role."), (*READ, errors.AuthNotFound), given=_ROLE
)
ADD_ROLE: Final = _change(users.NewRoleBody)
DELETE_ROLE: Final = _change(given=_ROLE)
GRANT_PERMISSION: Final = _change(users.PermissionBody, _ROLE)
REVOKE_PERMISSION: Final = _change(users.PermissionBody, _ROLE)
