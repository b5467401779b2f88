"""Options that every command has: `--endpoints`, `-o`, `--timeout`, before the command's name or after it.

The one nearest to the command wins, then the variable `KV_*`, then the default. They are read with `settings()`; the
decorated function gets no parameters for them.
"""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kvcli.credentials import Credentials, credentials
from kvcli.output import Mode

if TYPE_CHECKING:
    from kvstore.client import AsyncClient

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEFAULT_TIMEOUT_S: Final = 5.0

_META: Final = "kvcli."
_TIMEOUT_S_MAX: Final = 600.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of this call. `output` is None when neither a flag nor the environment chose one."""

    endpoints: tuple[str, ...]
    chosen_output: Mode | None
    timeout_s: float
    user: str | None = None
    token_file: str | None = None
    password_file: str | None = None

    @property
    def output(self) -> Mode:
        """The output mode, simple unless another was chosen."""
        return self.chosen_output or Mode.SIMPLE


def global_options(command: F) -> F:
    """Decorator: adds the options to a command or group."""
    for option in (
        click.option(
            "--password-file",
            metavar="FILE",
            help="File with the password of --user, - for standard input. Without it: KV_PASSWORD, or a prompt. "
            "[env: KV_PASSWORD_FILE]",
            **_stored("password_file", str),
        ),
        click.option(
            "--token-file",
            metavar="FILE",
            help="File with a token, where auth is enabled. Without it: KV_TOKEN. [env: KV_TOKEN_FILE]",
            **_stored("token_file", str),
        ),
        click.option(
            "--user", metavar="NAME", help="Who asks, where auth is enabled. [env: KV_USER]", **_stored("user", str)
        ),
        click.option(
            "--timeout",
            metavar="SECONDS",
            help="Whole time that one operation may take, retries included. "
            f"[env: KV_TIMEOUT; default: {DEFAULT_TIMEOUT_S:g}]",
            **_stored("timeout", _timeout),
        ),
        click.option(
            "-o",
            "--output",
            metavar="MODE",
            help="simple, table, json or raw. [env: KV_OUTPUT; default: simple]",
            **_stored("output", _mode),
        ),
        click.option(
            "--endpoints",
            metavar="URL,...",
            help="Nodes to talk to, any of a cluster. [env: KV_ENDPOINTS; default: http://127.0.0.1:8480]",
            **_stored("endpoints", _endpoints),
        ),
    ):
        command = option(command)
    return command


def settings() -> Settings:
    """The options of the command that runs now. Raises click.UsageError for a variable that cannot be used."""
    return Settings(
        _resolve("endpoints", _endpoints, "http://127.0.0.1:8480"),
        _resolve("output", _mode, None),
        _resolve("timeout", _timeout, DEFAULT_TIMEOUT_S),
        _resolve("user", str, None),
        _resolve("token_file", str, None),
        _resolve("password_file", str, None),
    )


def given_endpoints() -> tuple[str, ...]:
    """The endpoints that a flag or the environment names; none if it would be the default."""
    return settings().endpoints if _named("endpoints") else ()


def run_with_client(action: Callable[["AsyncClient"], Coroutine[Any, Any, T]], *, anonymous: bool = False) -> T:
    """Runs `action` with a client for the chosen endpoints, in an event loop of its own. `anonymous`: it does not say
    who asks.
    """
    import asyncio

    from kvstore.client import AsyncClient

    chosen = settings()
    who = Credentials() if anonymous else given_credentials(chosen)

    async def go() -> T:
        async with AsyncClient(
            chosen.endpoints, timeout_s=chosen.timeout_s, token=who.token, user=who.user, password=who.password
        ) as client:
            return await action(client)

    return asyncio.run(go())


def given_credentials(chosen: Settings) -> Credentials:
    """Who asks, as the options say. Raises click.UsageError."""
    return credentials(chosen.user, chosen.token_file, chosen.password_file)


def key_bytes(argument: str) -> bytes:
    """The bytes of an argument exactly as the shell passed them, UTF-8 or not."""
    return os.fsencode(argument)


def key_text(key: bytes) -> str:
    """The reverse of `key_bytes`."""
    return os.fsdecode(key)


def _stored(name: str, parse: Callable[[str], Any]) -> dict[str, Any]:
    def store(context: click.Context, parameter: click.Parameter, given: str | None) -> None:
        if given is not None:
            try:
                context.meta[_META + name] = parse(given)
            except ValueError as wrong:
                raise click.BadParameter(str(wrong), context, parameter) from wrong

    return {"expose_value": False, "callback": store, "default": None}


def _resolve(name: str, parse: Callable[[str], Any], default: Any) -> Any:
    meta = click.get_current_context().meta
    if _META + name in meta:
        return meta[_META + name]
    variable = f"KV_{name.upper()}"
    try:
        text = os.environ.get(variable) or default
        return parse(text) if isinstance(text, str) else text
    except ValueError as wrong:
        raise click.UsageError(f"{variable}: {wrong}") from wrong


def _named(name: str) -> bool:
    return _META + name in click.get_current_context().meta or bool(os.environ.get(f"KV_{name.upper()}"))


def _endpoints(text: str) -> tuple[str, ...]:
    from kvstore.client.endpoints import parse_endpoints

    return parse_endpoints(text.split(","))


def _mode(text: str) -> Mode:
    try:
        return Mode(text)
    except ValueError:
        raise ValueError(f"{text!r} is not one of {', '.join(Mode)}") from None


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not 0 < seconds <= _TIMEOUT_S_MAX:
        raise ValueError(f"{text} is not between 0 and {_TIMEOUT_S_MAX:g} seconds")
    return seconds
