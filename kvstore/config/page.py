"""The page docs/configuration.md, made from the table."""

from kvstore import limits
from kvstore.config.loading import FILE_ENV, FILE_TABLE
from kvstore.config.settings import SETTINGS, Setting

_PAGE = """\
# Configuration

<!-- Made from the table in kvstore/config/ by `python -m kvstore.config > docs/configuration.md`; do not edit. -->

Every setting of `kv serve` can be given as a flag, as an environment variable, or in a TOML file under `[serve]`,
where its key is its name. The flag wins over the variable, the variable over the file, the file over the default; an
empty variable counts as absent. The file is named by `--config FILE` or `{file_env}`. A setting that cannot be used
ends `kv serve` with exit code 2 and a message that says which, where it was given and what is expected.

Sizes may be written with `KiB`, `MiB` or `GiB`. Addresses are `HOST:PORT`, or `[::1]:PORT` for IPv6. Node names are 1
to {name_chars} of `a-z 0-9 _ . -` with a letter or digit first.

| name | flag | variable | default | meaning |
|---|---|---|---|---|
{rows}

What must fit together:

- `election_ms_min` is more than three times `heartbeat_ms`, and `election_ms_max` is above `election_ms_min`.
- `peers` names the other nodes only, each with an address of its own, at most {peers_max} of them.
- `listen`, `listen_redis` and the peer addresses are addresses of their own.
- `tls_cert`, `tls_key` and `tls_ca` are given together or not at all. They are read again when their content changes,
  and on SIGHUP ([security.md](security.md)).
- Without TLS, `listen`, `listen_redis` and `listen_peer` are loopback addresses unless `insecure_bind` is true.

## As a file

```toml
[{table}]
{example}
```

## For clients

The same file may say, under `[client]`, what every other command of `kv` takes: `endpoints` (a list), `output`,
`timeout` in seconds, `cacert`, `cert` and `key`. The flag and the variable (`KV_ENDPOINTS`, `KV_OUTPUT`, `KV_TIMEOUT`,
`KV_CACERT`, `KV_CERT`, `KV_KEY`) go before it.

```toml
[client]
endpoints = ["https://kv1.example:8480", "https://kv2.example:8480"]
cacert = "/etc/kv/ca.pem"
```
"""


def render_markdown() -> str:
    """The text of docs/configuration.md."""
    rows = []
    for row in SETTINGS:
        usage = row.flag if row.is_switch else f"{row.flag} {row.kind}"
        rows.append(
            f"| `{row.name}` | `{usage.replace('|', chr(92) + '|')}` | `{row.env}` | {_shown(row)} | {row.help} |"
        )
    return _PAGE.format(
        file_env=FILE_ENV,
        name_chars=limits.NAME_CHARS_MAX,
        peers_max=limits.MEMBERS_MAX - 1,
        table=FILE_TABLE,
        rows="\n".join(rows),
        example="\n".join(_example(row) for row in SETTINGS),
    )


def _shown(row: Setting) -> str:
    if row.default in ((), ""):
        return "none"
    text = str(row.default).lower() if row.is_switch else str(row.default)
    if row.unit == "bytes" and isinstance(row.default, int):
        return f"`{row.default >> 20}MiB`"
    return f"`{text}`" + (f" {row.unit}" if row.unit else "")


def _example(row: Setting) -> str:
    if row.repeatable:
        return f'{row.name} = ["n2=127.0.0.1:8581", "n3=127.0.0.1:8681"]'
    if isinstance(row.default, str):
        return f'{row.name} = "{row.default}"'
    return f"{row.name} = {str(row.default).lower()}"
