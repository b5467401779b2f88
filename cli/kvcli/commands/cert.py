"""`kv cert`: a certificate authority in a directory, and certificates of it for nodes and clients."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from kvcli import output
from kvcli.options import global_options, settings
from kvcli.output import Mode
from kvcli.pages import group
from kvstore import limits

if TYPE_CHECKING:
    from kvstore.security.authority import Made

F = TypeVar("F", bound=Callable[..., Any])

_CA_DAYS: Final = 1_825
_LEAF_DAYS: Final = 365


def _where(days: int) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in (
            click.option("--force", is_flag=True, help="Replace files that are there."),
            click.option(
                "--days",
                type=click.IntRange(1, limits.CERT_DAYS_MAX),
                default=days,
                show_default=True,
                help="How long it is valid; never longer than its CA.",
            ),
            click.option(
                "--dir",
                "directory",
                type=click.Path(path_type=Path, file_okay=False),
                default="kv-certs",
                show_default=True,
                help="Where the CA is, and the certificate goes.",
            ),
        ):
            command = option(command)
        return command

    return decorate


@group(short_help="Make certificates for nodes and clients.")
def cert() -> None:
    """Make a certificate authority, and certificates of it for nodes and clients, for development and small clusters.

    Keys are ECDSA P-256, which every TLS library and browser accepts. Files of keys have mode 0600 and are never
    overwritten without --force. Whoever has ca-key.pem can make certificates for everybody: keep it off the nodes.
    """


@cert.command()
@_where(_CA_DAYS)
@global_options
def ca(directory: Path, days: int, force: bool) -> None:
    """Make a CA: ca.pem and ca-key.pem."""
    from kvstore.security import authority

    _tell(authority.make_ca(directory, days=days, force=force))


@cert.command()
@click.argument("name")
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="Name or address by which clients reach the node; repeat it. [default: localhost, 127.0.0.1 and ::1]",
)
@_where(_LEAF_DAYS)
@global_options
def node(name: str, hosts: tuple[str, ...], directory: Path, days: int, force: bool) -> None:
    """Make a certificate for the node called NAME: node-NAME.pem and node-NAME-key.pem.

    Peers check the name, clients the hosts.
    """
    from kvstore.security import authority

    chosen = hosts or authority.DEFAULT_HOSTS
    _tell(authority.make_node(directory, _node_name(name), chosen, days=days, force=force))


@cert.command()
@click.argument("name")
@_where(_LEAF_DAYS)
@global_options
def client(name: str, directory: Path, days: int, force: bool) -> None:
    """Make a certificate for a client called NAME: client-NAME.pem and client-NAME-key.pem."""
    from kvstore.security import authority

    _tell(authority.make_client(directory, _node_name(name), days=days, force=force))


def _node_name(name: str) -> str:
    from kvstore.config import parse_name

    try:
        return parse_name(name)
    except ValueError as wrong:
        raise click.UsageError(str(wrong)) from None


def _tell(made: "Made") -> None:
    mode = settings().output
    expires = made.expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    if mode is Mode.JSON:
        document = {"cert": str(made.cert), "key": str(made.key), "expires": expires, "hosts": list(made.hosts)}
        output.write_json(document)
        return
    output.write_rows(["CERT", "KEY", "EXPIRES"], [[str(made.cert), str(made.key), expires]], mode)
