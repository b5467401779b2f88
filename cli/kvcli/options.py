"""Options that every command has: `--endpoints`, `-o`, `--timeout`, `--cacert`, `--cert`, `--key`, before the command's
name or after it.

The one nearest to the command wins, then the variable `KV_*`, then the file (kvcli.profile), then the default. They are
read with `settings()`; the decorated function gets no parameters for them.
"""

import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kvcli import profile
from kvcli.credentials import Credentials, credentials
from kvcli.output import Mode

if TYPE_CHECKING:
    from kvstore.client import AsyncClient, Tls

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
    tls: "Tls | None" = None
    user: str | None = None
    token_file: str | None = None
    password_file: str | None = None

    @property
    def output(self) -> Mode:
        """The output mode, simple unless another was chosen."""
        return self.chosen_output or Mode.SIMPLE

    @property
    def who(self) -> Credentials:
        """Who asks. Raises click.UsageError."""
        return credentials(self.user, self.token_file, self.password_file)

    def client(
        self,
        endpoints: tuple[str, ...] | None = None,
        *,
        timeout_s: float | None = None,
        who: Credentials | None = None,
    ) -> "AsyncClient":
        """A client of `endpoints`, the chosen ones by default, for `who`, by default whoever the options say. Raises
        click.UsageError, BadCertificates.
        """
        from kvstore.client import AsyncClient

        self.check()
        says = (self.who if who is None else who)._asdict()
        return AsyncClient(endpoints or self.endpoints, timeout_s=timeout_s or self.timeout_s, tls=self.tls, **says)

    def check(self) -> None:
        """Raises click.UsageError if certificates are given, and an endpoint would be spoken to in clear."""
        clear = [endpoint for endpoint in self.endpoints if endpoint.startswith("http:")]
        if self.tls is not None and clear:
            raise click.UsageError(
                f"certificates are given, but {clear[0]} is not TLS: write https:// in --endpoints or KV_ENDPOINTS, or "
                "leave KV_CACERT, KV_CERT and KV_KEY away"
            )


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
            "--key",
            "client_key_path",
            metavar="FILE",
            help="Key of --cert, PEM. [env: KV_KEY]",
            **_stored("key", _path),
        ),
        click.option(
            "--cert",
            "client_cert_path",
            metavar="FILE",
            help="Certificate to show to nodes that ask for one, PEM. [env: KV_CERT]",
            **_stored("cert", _path),
        ),
        click.option(
            "--cacert",
            "cacert_path",
            metavar="FILE",
            help="CAs that vouch for nodes at https://, PEM. [env: KV_CACERT; default: those of the system]",
            **_stored("cacert", _path),
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
    tls = _tls()
    return Settings(
        _resolve("endpoints", _endpoints, f"http{'' if tls is None else 's'}://127.0.0.1:8480"),
        _resolve("output", _mode, None),
        _resolve("timeout", _timeout, DEFAULT_TIMEOUT_S),
        tls,
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

    chosen = settings()
    who = Credentials() if anonymous else chosen.who

    async def go() -> T:
        async with chosen.client(who=who) as client:
            return await action(client)

    return asyncio.run(go())


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
    source = f"KV_{name.upper()}"
    text = os.environ.get(source)
    if not text:
        source, text = profile.lookup(name)
    try:
        return parse(text) if text else parse(default) if isinstance(default, str) else default
    except ValueError as wrong:
        raise click.UsageError(f"{source}: {wrong}") from wrong


def _named(name: str) -> bool:
    return (
        _META + name in click.get_current_context().meta
        or bool(os.environ.get(f"KV_{name.upper()}"))
        or profile.lookup(name)[1] is not None
    )


def _tls() -> "Tls | None":
    cacert, cert, key = (_resolve(name, _path, None) for name in ("cacert", "cert", "key"))
    if cacert is None and cert is None and key is None:
        return None
    from kvstore.client import Tls

    try:
        return Tls(cacert, cert, key)
    except ValueError as wrong:
        raise click.UsageError(f"{wrong} (--cert and --key, KV_CERT and KV_KEY)") from wrong


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is not a file")
    return text


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
