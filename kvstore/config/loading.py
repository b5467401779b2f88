"""The settings of one node, checked as a whole, from flag > environment > file > default."""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from kvstore import limits
from kvstore.config.settings import SETTINGS, Setting
from kvstore.config.values import Address
from kvstore.errors import LocalError

FILE_TABLE: Final = "serve"
FILE_ENV: Final = "KV_CONFIG"


class ConfigError(LocalError):
    """A setting that cannot be used: says which, where it was given, and what is expected. Wrong usage: exit 2."""

    exit_code: ClassVar[int] = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """What `kv serve` runs with: one field for each row of SETTINGS, of the type its parser gives. Made by `load`."""

    name: str
    data_dir: str
    listen: Address
    listen_redis: Address | None
    listen_peer: Address
    peers: Mapping[str, Address]
    join: str
    join_token_file: str
    bootstrap_incomplete: bool
    cluster_token: str = field(repr=False)
    tls_cert: str
    tls_key: str
    tls_ca: str
    tls_client_ca: str
    tls_client_auth: Literal["optional", "required", "none"]
    tls_version_min: Literal["1.3", "1.2"]
    insecure_bind: bool
    token_seconds: int
    jwt_keys: str
    connections_per_address: int
    jwt_audience: str
    metrics_private: bool
    audit_log: str
    audit_kinds: tuple[str, ...]
    heartbeat_ms: int
    election_ms_min: int
    election_ms_max: int
    snapshot_log_bytes: int
    log_keep_bytes: int
    backup_dir: str
    backup_every_s: int
    backup_keep: int
    encryption_key_file: str
    encryption_key_command: str = field(repr=False)
    slow_request_ms: int
    ui_reports_dir: str
    log_level: Literal["debug", "info", "warning", "error"]
    log_format: Literal["auto", "json", "console"]

    def __post_init__(self) -> None:
        """Checks what a single setting cannot know. Raises ConfigError."""
        self._check_timing()
        self._check_peers()
        self._check_tls()
        if self.encryption_key_file and self.encryption_key_command:
            raise ConfigError("encryption_key_command: there is an encryption_key_file already; give one of them")
        if self.tls or self.insecure_bind:
            return
        for setting, address in self._reachable():
            raise ConfigError(
                f"{setting}: {address} can be reached from other machines, and without TLS whoever reaches it can read "
                "and change every key. Use a loopback address; or give the node a certificate (tls_cert, tls_key, "
                "tls_ca; kv cert makes some); or set insecure_bind (--insecure-bind) on a network in which everyone is "
                "trusted"
            )

    @property
    def tls(self) -> bool:
        """Whether every door speaks TLS."""
        return bool(self.tls_cert)

    @property
    def open_to_all(self) -> bool:
        """Whether clients of other machines get in without a certificate, although there is TLS."""
        doors = [setting for setting, _ in self._reachable() if setting != "listen_peer"]
        return self.tls and self.tls_client_auth != "required" and bool(doors)

    def _reachable(self) -> list[tuple[str, Address]]:
        """What other machines can reach."""
        doors = (("listen", self.listen), ("listen_redis", self.listen_redis), ("listen_peer", self.listen_peer))
        return [(setting, at) for setting, at in doors if at is not None and not at.is_loopback]

    def _check_tls(self) -> None:
        given = {"tls_cert": self.tls_cert, "tls_key": self.tls_key, "tls_ca": self.tls_ca}
        missing = [setting for setting, path in given.items() if not path]
        if 0 < len(missing) < len(given):
            raise ConfigError(f"{missing[0]}: is missing; TLS takes all of {', '.join(given)}")
        if missing and self.tls_client_ca:
            raise ConfigError(f"tls_client_ca: says nothing without {', '.join(given)}")
        if self.tls and self.join.startswith("http://"):
            raise ConfigError(f"join: {self.join} is not TLS, and this node's cluster speaks nothing else: https://...")

    def _check_timing(self) -> None:
        if self.election_ms_min <= 3 * self.heartbeat_ms:
            raise ConfigError(
                f"election_ms_min: {self.election_ms_min} ms is not more than three heartbeats "
                f"(3 * {self.heartbeat_ms} ms): a late heartbeat would depose a healthy leader"
            )
        if self.election_ms_max <= self.election_ms_min:
            raise ConfigError(
                f"election_ms_max: {self.election_ms_max} ms is not above election_ms_min ({self.election_ms_min} ms): "
                "nodes would stand for election at the same moment"
            )

    def _check_peers(self) -> None:
        if self.name in self.peers:
            raise ConfigError(f"peers: {self.name} is this node; name only the others")
        if len(self.peers) >= limits.MEMBERS_MAX:
            raise ConfigError(
                f"peers: {len(self.peers)} others, but a cluster has at most {limits.MEMBERS_MAX} members"
            )
        owners = {str(self.listen_peer): f"this node ({self.name})"} if self.peers else {}
        for name, address in self.peers.items():
            if str(address) in owners:
                raise ConfigError(f"peers: {name} has the peer address {address} of {owners[str(address)]}")
            owners[str(address)] = name
        for setting, door in (("listen", self.listen), ("listen_redis", self.listen_redis)):
            if str(door) in owners:
                raise ConfigError(f"{setting}: {door} is the peer address of {owners[str(door)]}")
        if self.listen_redis is not None and self.listen_redis == self.listen and self.listen.port:
            raise ConfigError(f"listen_redis: {self.listen_redis} is the address of the HTTP API")


def load(
    flags: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None, path: str | None = None
) -> ServerConfig:
    """Settings from flag > environment > file > default, checked.

    `flags` maps setting names to what was given on the command line: text or numbers, a sequence of text for `peers`,
    a bool for a switch; None and () mean "not given". `env` is os.environ or the like; an empty variable counts as
    absent. `path` is a TOML file with a [serve] table; without it the variable KV_CONFIG names one, and without that
    there is none. Raises ConfigError.
    """
    return ServerConfig(**load_some([setting.name for setting in SETTINGS], flags, env, path))


def load_some(
    names: Iterable[str],
    flags: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    path: str | None = None,
) -> dict[str, Any]:
    """The values of the settings with these names, as `load` would find them. Raises ConfigError."""
    given, variables = flags or {}, env or {}
    path = path or variables.get(FILE_ENV) or None
    in_file = {} if path is None else read_file(path)
    values: dict[str, Any] = {}
    wanted = set(names)
    for setting in SETTINGS:
        if setting.name not in wanted:
            continue
        value, source = _pick(setting, given, variables, in_file, path)
        try:
            values[setting.name] = setting.parse(value)
        except ValueError as wrong:
            raise ConfigError(f"{setting.name}{source}: {wrong}") from None
    return values


def _pick(
    setting: Setting, flags: Mapping[str, Any], env: Mapping[str, str], in_file: Mapping[str, Any], path: str | None
) -> tuple[Any, str]:
    flag = flags.get(setting.name)
    if flag is not None and flag != ():
        return flag, f" (from {setting.flag})"
    if env.get(setting.env):
        return env[setting.env], f" (from {setting.env})"
    if setting.name in in_file:
        return in_file[setting.name], f" (from {path})"
    return setting.default, ""


def read_file(path: str) -> dict[str, Any]:
    """The [serve] table of a TOML file, unparsed; other tables are not ours to judge. Raises ConfigError."""
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as failed:
        raise ConfigError(f"{path}: {failed.strerror or failed}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise ConfigError(f"{path}: not TOML: {wrong}") from None
    for key, value in document.items():
        if not isinstance(value, dict | list):
            raise ConfigError(f"{path}: {key} stands outside of the table [{FILE_TABLE}]")
    table = document.get(FILE_TABLE, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{path}: {FILE_TABLE} is not a table")
    known = [setting.name for setting in SETTINGS]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            raise ConfigError(f"{path}: no such setting: {key}" + (f". Did you mean {near[0]}?" if near else ""))
    return table
