"""What a client says about itself and its connection."""

import time
from typing import Final

from kvstore import __version__, limits
from kvstore.errors import Unauthenticated
from kvstore.guard import rules
from kvstore.redis.command import Client, Command
from kvstore.redis.commands.arguments import integer, options, upper, value_of
from kvstore.redis.problems import CommandError, syntax_error, too_large
from kvstore.redis.replies import NO_REPLY, OK, RESP2, RESP3, Reply, Simple
from kvstore.redis.session import Session
from kvstore.redis.view import View
from kvstore.security import tokens

_NO_PASSWORD: Final = (
    "AUTH <password> called without any password configured for the default user. Are you sure your configuration is "
    "correct?"
)
_WRONG: Final = "invalid username-password pair or user is disabled."
_PONG: Final = Simple(b"PONG")


def ping(client: Client, arguments: list[bytes]) -> Reply:
    """PING [message]"""
    if len(arguments) > 2:
        raise CommandError("wrong number of arguments for 'ping' command")
    if client.session.listens_only:
        return [b"pong", arguments[1] if len(arguments) == 2 else b""]
    return arguments[1] if len(arguments) == 2 else _PONG


def pure_ping(view: View, arguments: list[bytes]) -> Reply:
    """The same in a transaction."""
    return arguments[1] if len(arguments) == 2 else _PONG


def echo(client: Client, arguments: list[bytes]) -> Reply:
    """ECHO message"""
    return arguments[1]


def pure_echo(view: View, arguments: list[bytes]) -> Reply:
    """The same in a transaction."""
    return arguments[1]


async def auth(client: Client, arguments: list[bytes]) -> Reply:
    """AUTH [username] password, or AUTH [username] token"""
    if len(arguments) > 3:
        raise syntax_error()
    await _says_who_it_is(client, arguments[1] if len(arguments) == 3 else None, arguments[-1])
    return OK


async def _says_who_it_is(client: Client, user: bytes | None, secret: bytes) -> None:
    """Raises CommandError (WRONGPASS), or Overloaded for too many tries."""
    gate, session = client.services.gate, client.session
    if not gate.enabled:
        raise CommandError(_NO_PASSWORD)
    try:
        name, text = None if user is None else user.decode(), secret.decode()
    except UnicodeDecodeError:
        raise CommandError(_WRONG, "WRONGPASS") from None
    try:
        # Many programs know only of users with passwords: a token may stand in the place of one.
        if name is None or text.startswith(tokens.PREFIX):
            caller = gate.of_token(text)
            if name is not None and name != caller.user:
                raise CommandError(_WRONG, "WRONGPASS")
        else:
            caller = await gate.of_password(name, text, session.address.rpartition(":")[0])
    except Unauthenticated:
        gate.denied_total += 1
        raise CommandError(_WRONG, "WRONGPASS") from None
    session.caller = caller


def select(client: Client, arguments: list[bytes]) -> Reply:
    """SELECT index"""
    if integer(arguments[1]) != 0:
        raise CommandError("DB index is out of range")
    return OK


async def hello(client: Client, arguments: list[bytes]) -> Reply:
    """HELLO [protover [AUTH username password] [SETNAME clientname]]"""
    session = client.session
    protocol, name = session.protocol, session.name
    if len(arguments) > 1:
        if arguments[1] not in (b"2", b"3"):
            raise CommandError("unsupported protocol version", "NOPROTO")
        protocol = RESP2 if arguments[1] == b"2" else RESP3
    for option, rest in options(arguments, 2):
        if option == "AUTH":
            await _says_who_it_is(client, value_of(rest), value_of(rest))
            continue
        if option != "SETNAME":
            raise CommandError(f"Syntax error in HELLO option '{option.lower()}'")
        name = _checked_name(value_of(rest))
    client.permit(rules.known)
    session.protocol, session.name = protocol, name
    session.settle()
    return {
        "server": "kvstore",
        "version": __version__,
        "proto": protocol,
        "id": session.id,
        "mode": "standalone",
        "role": "master",
        "modules": [],
    }


def quit_(client: Client, arguments: list[bytes]) -> Reply:
    """QUIT"""
    client.end(OK)
    return NO_REPLY


def reset(client: Client, arguments: list[bytes]) -> Reply:
    """RESET"""
    client.session.reset()
    return Simple(b"RESET")


def client_(client: Client, arguments: list[bytes]) -> Reply:
    """CLIENT subcommand"""
    answer = _SUBCOMMANDS.get(upper(arguments[1]))
    if answer is None:
        raise CommandError(f"CLIENT {upper(arguments[1])} is not supported")
    return answer(client, arguments)


def _count(arguments: list[bytes], count: int) -> None:
    if len(arguments) != count:
        raise CommandError(f"wrong number of arguments for 'client|{upper(arguments[1]).lower()}' command")


def _id(client: Client, arguments: list[bytes]) -> Reply:
    _count(arguments, 2)
    return client.session.id


def _get_name(client: Client, arguments: list[bytes]) -> Reply:
    _count(arguments, 2)
    return client.session.name or None


def _set_name(client: Client, arguments: list[bytes]) -> Reply:
    _count(arguments, 3)
    client.session.name = _checked_name(arguments[2])
    return OK


def _checked_name(name: bytes) -> bytes:
    if any(byte <= 0x20 or byte >= 0x7F for byte in name):
        raise CommandError("Client names cannot contain spaces, newlines or special characters.")
    if len(name) > limits.REDIS_CLIENT_NAME_BYTES_MAX:
        raise too_large(f"a name has {limits.REDIS_CLIENT_NAME_BYTES_MAX} bytes at most")
    return name


def _set_info(client: Client, arguments: list[bytes]) -> Reply:
    _count(arguments, 4)
    attribute = upper(arguments[2])
    if attribute not in ("LIB-NAME", "LIB-VER"):
        raise CommandError(f"Unrecognized option '{attribute.lower()}'")
    client.session.library[attribute.lower()] = _checked_name(arguments[3]).decode("ascii")
    return OK


def _info(client: Client, arguments: list[bytes]) -> Reply:
    _count(arguments, 2)
    return line(client.session) + "\n"


def _list(client: Client, arguments: list[bytes]) -> Reply:
    if len(arguments) > 2:
        raise CommandError("CLIENT LIST takes no options here")
    sessions = sorted(client.services.peers.sessions(), key=lambda session: session.id)
    return "".join(line(session) + "\n" for session in sessions[: limits.REDIS_CLIENTS_LISTED_MAX])


def line(session: Session) -> str:
    """What CLIENT LIST says of one connection."""
    kinds = [kind for kind, _ in session.subscriptions]
    return (
        f"id={session.id} addr={session.address} name={session.name.decode('ascii')} "
        f"age={int(time.monotonic() - session.since_s)} db=0 sub={kinds.count('subscribe')} "
        f"psub={kinds.count('psubscribe')} multi={-1 if session.queue is None else len(session.queue)} "
        f"watch={len(session.watched)} cmd={session.last_command or 'NULL'} resp={session.protocol} "
        f"lib-name={session.library.get('lib-name', '')} lib-ver={session.library.get('lib-ver', '')} "
        f"kv-write-level={session.write_level.value} kv-read-level={session.read_level.value}"
    )


def _switch(client: Client, arguments: list[bytes]) -> Reply:
    """Nothing is evicted here, and reading a key touches nothing."""
    _count(arguments, 3)
    if upper(arguments[2]) not in ("ON", "OFF"):
        raise syntax_error()
    return OK


_SUBCOMMANDS: Final = {
    "ID": _id,
    "GETNAME": _get_name,
    "SETNAME": _set_name,
    "SETINFO": _set_info,
    "INFO": _info,
    "LIST": _list,
    "NO-EVICT": _switch,
    "NO-TOUCH": _switch,
}

_NONE: Final = (0, 0, 0)
_FAST: Final = ("noscript", "loading", "stale", "fast")

COMMANDS: Final = (
    Command(
        "PING",
        -1,
        _NONE,
        ("fast",),
        "connection",
        "1.0.0",
        "PONG, or the message.",
        "",
        pure_ping,
        ping,
        None,
        True,
        needs="known",
    ),
    Command(
        "ECHO", 2, _NONE, ("fast",), "connection", "1.0.0", "The message.", pure=pure_echo, local=echo, needs="known"
    ),
    Command(
        "HELLO",
        -1,
        _NONE,
        _FAST,
        "connection",
        "6.0.0",
        "Chooses RESP2 or RESP3, and tells who is there.",
        "AUTH is refused while auth is not enabled.",
        served=hello,
        needs="open",
    ),
    Command(
        "AUTH",
        -2,
        _NONE,
        _FAST,
        "connection",
        "1.0.0",
        "Says who sends what follows, by a password or a token.",
        "A token alone, or in the place of the password. Refused while auth is not enabled.",
        served=auth,
        needs="open",
    ),
    Command(
        "SELECT",
        2,
        _NONE,
        _FAST,
        "connection",
        "1.0.0",
        "Database 0.",
        "There is no other one.",
        local=select,
        needs="known",
    ),
    Command(
        "QUIT",
        -1,
        _NONE,
        _FAST,
        "connection",
        "1.0.0",
        "Closes the connection.",
        "",
        None,
        quit_,
        None,
        True,
        needs="open",
    ),
    Command(
        "RESET",
        1,
        _NONE,
        _FAST,
        "connection",
        "6.2.0",
        "Everything is as when the connection began.",
        "",
        None,
        reset,
        None,
        True,
        needs="open",
    ),
    Command(
        "CLIENT",
        -2,
        _NONE,
        _FAST,
        "connection",
        "2.4.0",
        "ID, GETNAME, SETNAME, SETINFO, INFO, LIST, NO-EVICT, NO-TOUCH.",
        "No other ones. NO-EVICT and NO-TOUCH change nothing.",
        local=client_,
        needs="known",
    ),
)
