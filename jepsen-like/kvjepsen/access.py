"""How clients of a run get in: by TLS and a token where doors are closed; and how a run closes the doors of its own.

A sealed cluster speaks TLS at every door, has auth enabled, and encrypts what it keeps. The harness's own questions
go by the client certificate of the cluster, whose name is a user there; the load goes by a token.
"""

import base64
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kvcluster.supervisor import Cluster
from kvcluster.topology import CLIENT
from kvstore import limits
from kvstore.client import AsyncClient, Client, Tls
from kvstore.redis.client import Command, RedisClient
from kvstore.vault.cipher import KEY_BYTES
from kvstore.vault.envelope import Vault
from kvstore.vault.keys import KeyRing

_KEY: Final = 1
_KEYS_NAME: Final = "keys"


@dataclass(frozen=True)
class Access:
    """What a client is given beside its endpoints. Nothing of it is ever shown."""

    tls: Tls | None = None
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def client(self, endpoints: Sequence[str], **more: Any) -> AsyncClient:
        """See AsyncClient."""
        return AsyncClient(endpoints, tls=self.tls, token=self.token, user=self.user, password=self.password, **more)

    def redis(self, address: str, *first: Command) -> RedisClient:
        """See RedisClient: a connection logs in before it says `first`."""
        return RedisClient(address, *self._login(), *first, tls=self.tls)

    def _login(self) -> tuple[Command, ...]:
        if self.token is not None:
            return ((b"AUTH", self.token.encode()),)
        if self.user is not None and self.password is not None:
            return ((b"AUTH", self.user.encode(), self.password.encode()),)
        return ()


OPEN: Final = Access()


class Seal:
    """The keys of the disks of a cluster in `home`, made anew unless they are there."""

    def __init__(self, home: Path) -> None:
        self._file = home / _KEYS_NAME
        home.mkdir(parents=True, exist_ok=True)
        key = secrets.token_bytes(KEY_BYTES)
        with open(self._file, "x", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
            file.write(f"{_KEY} {base64.b64encode(key).decode()}\n")
        self.vault = Vault(KeyRing(_KEY, {_KEY: key}))

    @property
    def env(self) -> dict[str, str]:
        """Settings of the nodes."""
        return {"KV_ENCRYPTION_KEY_FILE": str(self._file), "KV_TOKEN_SECONDS": str(limits.TOKEN_S_MAX)}

    def forget(self) -> None:
        """Nobody needs the keys any more."""
        self._file.unlink(missing_ok=True)


def close_doors(cluster: Cluster) -> Access:
    """Enable auth; how the load gets in from then on. The cluster's own certificate may do everything, too."""
    password = secrets.token_hex(16)
    with Client(cluster.endpoints, tls=cluster.tls) as client:
        client.enable_auth(password)
    with Client(cluster.endpoints, tls=cluster.tls, user="root", password=password) as root:
        root.add_role(CLIENT)
        root.grant_permission(CLIENT, ("read", "write", "delete", "watch", "lease", "admin"), prefix=b"")
        root.add_user(CLIENT)
        root.grant_role(CLIENT, CLIENT)
        token, _ = root.get_token("root", password)
    return Access(cluster.tls, token)
