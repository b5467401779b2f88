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
from kvcli.completing import files, modes
from kvcli.credentials import Credentials, credentials, unasked
from kvcli.kept import kept_open
from kvcli.output import Mode
from kvcli.situation import look
from kvcli.suggest import did_you_mean
from kvstore.errors import KvError, LocalError

if TYPE_CHECKING:
    from kvstore.client import AsyncClient, Tls

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

DEFAULT_ENDPOINT: Final = "127.0.0.1:8480"
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

    @property
    def who_unasked(self) -> Credentials:
        """Who asks, as far as that is known without a prompt. Raises click.UsageError."""
        return unasked(self.user, self.token_file, self.password_file)

    def client(
        self,
        endpoints: tuple[str, ...] | None = None,
        *,
        timeout_s: float | None = None,
        who: Credentials | None = None,
        sessions: bool = True,
    ) -> "AsyncClient":
        """A client of `endpoints`, the chosen ones by default, for `who`, by default whoever the options say. Raises
        click.UsageError, BadCertificates.
        """
        from kvstore.client import AsyncClient

        self.check()
        says = (self.who if who is None else who)._asdict()
        asked = endpoints or self.endpoints
        return AsyncClient(asked, timeout_s=timeout_s or self.timeout_s, tls=self.tls, sessions=sessions, **says)

    def check(self) -> None:
        """Raises click.UsageError if certificates are given, and an endpoint would be spoken to in clear."""
        clear = [endpoint for endpoint in self.endpoints if endpoint.startswith("http:")]
        if self.tls is not None and clear:
            raise click.UsageError(
                f"certificates are given, but {clear[0]} is not TLS: write https:// in --endpoints or KV_ENDPOINTS, or "
                "leave KV_CACERT, KV_CERT and KV_KEY away"
            )


class Common(click.Option):
    """An option that every command has: `kv help options` explains it, once."""


def global_options(command: F) -> F:
    """Decorator: adds the options to a command or group."""
    for names, metavar, text, name, parse in reversed(_COMMON):
        completes = modes if name == "output" else files if metavar == "FILE" else None
        command = click.option(
            *names, cls=Common, metavar=metavar, help=text, shell_complete=completes, **_stored(name, parse)
        )(command)
    return command


def settings() -> Settings:
    """The options of the command that runs now. Raises click.UsageError for a variable that cannot be used."""
    tls = _tls()
    return Settings(
        _resolve("endpoints", _endpoints, f"http{'' if tls is None else 's'}://{DEFAULT_ENDPOINT}"),
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
    who asks. What cannot be served for want of nodes is told with who is down (kvcli.situation).
    """
    import asyncio

    chosen = settings()
    who = Credentials() if anonymous else chosen.who

    async def go(client: "AsyncClient") -> T:
        try:
            return await action(client)
        except (KvError, LocalError) as error:
            await look(error, chosen, who)
            raise

    async def alone() -> T:
        async with chosen.client(who=who) as client:
            return await go(client)

    kept = kept_open()
    return asyncio.run(alone()) if kept is None else kept.run(chosen, who, go)


def common_flags(ctx: click.Context) -> list[str]:
    """Options of every command as they stand in the line of `ctx`, to be written again; without --endpoints and -o."""
    given = {
        name.removeprefix(_META): value for name, value in ctx.meta.items() if isinstance(name, str) and _META in name
    }
    written = {name: flags[0] for flags, _, _, name, _ in _COMMON if name not in ("endpoints", "output")}
    return [word for name, flag in written.items() if name in given for word in (flag, f"{given[name]}")]


def parse_endpoint_list(text: str) -> tuple[str, ...]:
    """A comma list of endpoints. Raises ValueError."""
    return _endpoints(text)


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
        raise ValueError(f"{text!r} is not one of {', '.join(Mode)}.{did_you_mean(text, Mode)}") from None


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not 0 < seconds <= _TIMEOUT_S_MAX:
        raise ValueError(f"{text} is not between 0 and {_TIMEOUT_S_MAX:g} seconds")
    return seconds


# How it is written, what stands behind it, its text, its name in the environment and the file, how it is read.
_COMMON: Final[tuple[tuple[tuple[str, ...], str, str, str, Callable[[str], Any]], ...]] = (
    (
        ("--endpoints",),
        "URL,...",
        f"Nodes to talk to, any of a cluster. [env: KV_ENDPOINTS; default: http://{DEFAULT_ENDPOINT}]",
        "endpoints",
        _endpoints,
    ),
    (
        ("-o", "--output"),
        "MODE",
        "simple, table, json or raw. [env: KV_OUTPUT; default: simple]",
        "output",
        _mode,
    ),
    (
        ("--timeout",),
        "SECONDS",
        f"Whole time that one operation may take, retries included. [env: KV_TIMEOUT; default: {DEFAULT_TIMEOUT_S:g}]",
        "timeout",
        _timeout,
    ),
    (
        ("--cacert", "cacert_path"),
        "FILE",
        "CAs that vouch for nodes at https://, PEM. [env: KV_CACERT; default: those of the system]",
        "cacert",
        _path,
    ),
    (
        ("--cert", "client_cert_path"),
        "FILE",
        "Certificate to show to nodes that ask for one, PEM. [env: KV_CERT]",
        "cert",
        _path,
    ),
    (("--key", "client_key_path"), "FILE", "Key of --cert, PEM. [env: KV_KEY]", "key", _path),
    (("--user",), "NAME", "Who asks, where auth is enabled. [env: KV_USER]", "user", str),
    (
        ("--token-file",),
        "FILE",
        "File with a token, where auth is enabled. Without it: KV_TOKEN. [env: KV_TOKEN_FILE]",
        "token_file",
        str,
    ),
    (
        ("--password-file",),
        "FILE",
        "File with the password of --user, - for standard input. Without it: KV_PASSWORD, or a prompt. "
        "[env: KV_PASSWORD_FILE]",
        "password_file",
        str,
    ),
)
