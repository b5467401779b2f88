"""The table of settings: one row each, in the order in which people meet them."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from kvstore import limits
from kvstore.config import values


class Setting(NamedTuple):
    """One row of the table. `name` is the field of ServerConfig and the key in the file's [serve] table."""

    name: str
    kind: str  # what people write: NAME, DIR, HOST:PORT, ...; true|false for a switch
    default: str | int | bool | tuple[str, ...]
    unit: str
    help: str
    parse: Callable[[Any], Any]
    flag: str
    secret: bool = False

    @property
    def env(self) -> str:
        """The environment variable."""
        return "KV_" + self.name.upper()

    @property
    def repeatable(self) -> bool:
        """The flag may be given many times; its values then come as a sequence of text."""
        return isinstance(self.default, tuple)

    @property
    def is_switch(self) -> bool:
        """The flag stands alone, without a value."""
        return isinstance(self.default, bool)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that are allowed, if only some words are."""
        return tuple(self.kind.split("|")) if "|" in self.kind and not self.is_switch else ()


def _setting(
    name: str,
    kind: str,
    default: Any,
    parse: Callable[[Any], Any],
    help: str,
    *,
    unit: str = "",
    flag: str = "",
    secret: bool = False,
) -> Setting:
    return Setting(name, kind, default, unit, help, parse, flag or "--" + name.replace("_", "-"), secret)


def _ms(name: str, default: int, low: int, high: int, help: str) -> Setting:
    return _setting(name, "N", default, values.whole("milliseconds", low, high), help, unit="ms")


def _bytes(name: str, default: int, low: int, help: str) -> Setting:
    return _setting(name, "SIZE", default, values.whole("bytes", low, limits.LOG_BYTES_MAX), help, unit="bytes")


# As kvstore.telemetry.audit has them; a test holds both together.
AUDIT_KINDS: Final = ("read", "write", "delete", "watch", "lease", "admin", "auth", "refused")
AUDIT_DEFAULT: Final = ("write", "delete", "lease", "admin", "auth", "refused")
_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("auto", "json", "console")
_CLIENT_AUTH = ("optional", "required", "none")
_TLS_VERSIONS = ("1.3", "1.2")

SETTINGS: Final[tuple[Setting, ...]] = (
    _setting("name", "NAME", "n1", values.name, "This node's name, unique in its cluster."),
    _setting(
        "data_dir", "DIR", "./kv-data", values.directory, "Where the log and the snapshots are kept. One node each."
    ),
    _setting(
        "listen",
        "HOST:PORT",
        "127.0.0.1:8480",
        values.address_or_any_port,
        "Address of the HTTP API. Port 0 takes a free one; the log says which.",
    ),
    _setting(
        "listen_redis",
        "HOST:PORT",
        "",
        values.address_or_none,
        "Address of a second door, which speaks the Redis protocol (docs/redis.md); none without it. Port 0 takes a "
        "free one; the log says which.",
    ),
    _setting(
        "listen_peer",
        "HOST:PORT",
        "127.0.0.1:8481",
        values.address,
        "Address for the other nodes. Opened once there is another member: a node that is alone takes no port.",
    ),
    _setting(
        "peers",
        "NAME=HOST:PORT",
        (),
        values.peers,
        "The other nodes of the first configuration, by their peer addresses. Repeat the flag; use commas in the "
        "variable, a list in the file. Without any, the node is a cluster of one. This node dials them there, whatever "
        "address the configuration has by then.",
        flag="--peer",
    ),
    _setting(
        "join",
        "URL",
        "",
        values.url,
        "HTTP address of a member of a running cluster: a new data directory joins it instead of beginning its own. "
        "Add the member first (kv member add). Without effect on a directory that is in use already.",
    ),
    _setting(
        "join_token_file",
        "FILE",
        "",
        values.file_or_none,
        "File with a token, with which the member at `join` is asked where auth is enabled (`kv token`); any user's.",
    ),
    _setting(
        "bootstrap_incomplete",
        "true|false",
        False,
        values.switch,
        "Hold the first election of a new cluster although some of its first members cannot be reached. Give it to a "
        "majority of them, once; without effect on a directory that is in use already. Never for a member that has "
        "lost its data: remove that one and add it again.",
    ),
    _setting(
        "cluster_token",
        "TEXT",
        "",
        values.token,
        "Nodes with different tokens refuse each other, so that two clusters never mix. Not a password: it travels in "
        "clear.",
        secret=True,
    ),
    _setting(
        "tls_cert",
        "FILE",
        "",
        values.file_or_none,
        "This node's certificate, PEM, with intermediate ones behind it. With it every door speaks TLS and nothing "
        "else, and peers show each other theirs. Its DNS names hold the node's name, and the hosts by which clients "
        "reach it (docs/security.md).",
    ),
    _setting("tls_key", "FILE", "", values.file_or_none, "The certificate's key, PEM, without a passphrase."),
    _setting(
        "tls_ca",
        "FILE",
        "",
        values.file_or_none,
        "CAs that are trusted, PEM, one or several: those of the other nodes, and of clients unless `tls_client_ca` "
        "names others.",
    ),
    _setting("tls_client_ca", "FILE", "", values.file_or_none, "CAs of clients, if they are not those of `tls_ca`."),
    _setting(
        "tls_client_auth",
        "|".join(_CLIENT_AUTH),
        "optional",
        values.one_of(*_CLIENT_AUTH),
        "Whether clients show a certificate: `required` lets nobody in without one, `optional` checks those that are "
        "shown, `none` asks for none. Peers always show theirs.",
    ),
    _setting(
        "tls_version_min",
        "|".join(_TLS_VERSIONS),
        "1.3",
        values.one_of(*_TLS_VERSIONS),
        "The oldest version of TLS that is spoken.",
    ),
    _setting(
        "insecure_bind",
        "true|false",
        False,
        values.switch,
        "Allow addresses that other machines can reach although there is no TLS: whoever reaches the ports can then "
        "read and change every key. Only for a network in which everyone is trusted.",
    ),
    _setting(
        "token_seconds",
        "N",
        900,
        values.whole("seconds", limits.TOKEN_S_MIN, limits.TOKEN_S_MAX),
        "How long a token is good that this node gives for a password, while auth is enabled (docs/security.md).",
        unit="s",
    ),
    _setting(
        "jwt_keys",
        "FILE",
        "",
        values.file_or_none,
        "Keys of tokens (JWT) that others have made, as a JSON key set; read anew when it changes. None are taken "
        "without it. Needs the extra `auth`.",
    ),
    _setting(
        "connections_per_address",
        "N",
        limits.HTTP_CONNECTIONS_PER_ADDRESS_MAX,
        values.whole("connections", 1, limits.HTTP_CONNECTIONS_MAX),
        "How many connections one address may have open, at each door; at the Redis door at most "
        f"{limits.REDIS_CONNECTIONS_PER_ADDRESS_MAX}. Raise it where all clients come through one proxy.",
    ),
    _setting("jwt_audience", "TEXT", "kvstore", values.audience, "What the `aud` of such a token must name."),
    _setting(
        "metrics_private",
        "true|false",
        False,
        values.switch,
        "Ask for a token at `/metrics`, too, while auth is enabled. Without it they are open: they hold neither keys "
        "nor values nor users, and whoever watches the cluster must not go blind with its token.",
    ),
    _setting(
        "audit_log",
        "FILE",
        "",
        values.file_or_none,
        "File for the audit log (docs/security.md); none without it. It is turned over at "
        f"{limits.AUDIT_FILE_BYTES_MAX >> 20} MiB, and {limits.AUDIT_FILES_MAX} files are kept.",
    ),
    _setting(
        "audit_kinds",
        "KIND,...",
        ",".join(AUDIT_DEFAULT),
        values.words(AUDIT_KINDS),
        f"What is written there: {', '.join(AUDIT_KINDS)}.",
    ),
    _ms(
        "heartbeat_ms",
        50,
        limits.HEARTBEAT_MS_MIN,
        limits.HEARTBEAT_MS_MAX,
        "How often a leader tells the others that it is there. The same on all nodes.",
    ),
    _ms(
        "election_ms_min",
        300,
        limits.ELECTION_MS_MIN,
        limits.ELECTION_MS_MAX,
        "Shortest silence of the leader before an election; more than three heartbeats. The same on all nodes.",
    ),
    _ms(
        "election_ms_max",
        500,
        limits.ELECTION_MS_MIN,
        limits.ELECTION_MS_MAX,
        "Longest silence before an election; above `election_ms_min`, so that nodes rarely stand at the same moment.",
    ),
    _bytes(
        "snapshot_log_bytes",
        32 << 20,
        limits.SNAPSHOT_LOG_BYTES_MIN,
        "A snapshot is taken when the log since the last one is longer than this.",
    ),
    _bytes(
        "log_keep_bytes",
        8 << 20,
        0,
        "Log kept behind a snapshot, so that a node which lags a little needs no whole snapshot.",
    ),
    _setting(
        "backup_dir",
        "DIR",
        "",
        values.directory_or_none,
        "Where this node puts a backup of the whole store every `backup_every_s`; none without it. Best on another "
        "disk. One directory may serve several nodes.",
    ),
    _setting(
        "backup_every_s",
        "N",
        3_600,
        values.whole("seconds", limits.BACKUP_EVERY_S_MIN, limits.BACKUP_EVERY_S_MAX),
        "How often, if something was written since.",
        unit="s",
    ),
    _setting(
        "backup_keep",
        "N",
        24,
        values.whole("files", 1, limits.BACKUP_KEEP_MAX),
        "How many of this node's backups are kept in `backup_dir`; the oldest are removed.",
    ),
    _setting(
        "encryption_key_file",
        "FILE",
        "",
        values.file_or_none,
        "File with keys, one in a line: a number and 32 bytes in base64. What is kept in `data_dir`, and backups, is "
        "encrypted by the first one; the others open what was written by them (docs/security.md). Only its owner may "
        "have access to it. Looked at every 2 s. Needs the extra `encryption`.",
    ),
    _setting(
        "encryption_key_command",
        "COMMAND",
        "",
        values.command_or_none,
        "A command that prints what such a file would hold; it runs at the start, and on SIGHUP, without a shell.",
    ),
    _setting(
        "slow_request_ms",
        "N",
        1_000,
        values.whole("milliseconds", 0, limits.SLOW_REQUEST_MS_MAX),
        "A request that takes longer is counted and written into the log, with its id; at most "
        f"{limits.SLOW_REQUESTS_LOGGED_PER_S_MAX} a second. 0 is none.",
        unit="ms",
    ),
    _setting(
        "ui_reports_dir",
        "DIR",
        "",
        values.directory_or_none,
        "Folder of reports of the harness (`kv chaos run`, `kv chaos odds`), up to three folders deep, which the web "
        "page shows; none without it. While auth is enabled that takes `admin`.",
    ),
    _setting("log_level", "|".join(_LEVELS), "info", values.one_of(*_LEVELS), "What is logged, to standard error."),
    _setting(
        "log_format",
        "|".join(_FORMATS),
        "auto",
        values.one_of(*_FORMATS),
        "`auto` is `console` on a terminal and `json` off it.",
    ),
)
