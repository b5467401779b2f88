"""The methods of the blocking Client for users, roles and tokens; see there."""

from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from kvstore.client.blocking import LoopThread
from kvstore.client.client import AsyncClient

T = TypeVar("T")


class SyncAuthCalls:
    """See Client."""

    _client: AsyncClient
    _thread: LoopThread

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work)

    def auth_status(self, *, timeout_s: float | None = None) -> dict[str, Any]:
        """See AsyncClient.auth_status."""
        return self._run(self._client.auth_status(timeout_s=timeout_s))

    def enable_auth(self, password: str | None = None, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.enable_auth."""
        return self._run(self._client.enable_auth(password, timeout_s=timeout_s))

    def disable_auth(self, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.disable_auth."""
        return self._run(self._client.disable_auth(timeout_s=timeout_s))

    def rotate_keys(self, *, forget: bool = False, timeout_s: float | None = None) -> int:
        """See AsyncClient.rotate_keys."""
        return self._run(self._client.rotate_keys(forget=forget, timeout_s=timeout_s))

    def get_token(self, user: str, password: str, *, timeout_s: float | None = None) -> tuple[str, float]:
        """See AsyncClient.get_token."""
        return self._run(self._client.get_token(user, password, timeout_s=timeout_s))

    def users(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """See AsyncClient.users."""
        return self._run(self._client.users(timeout_s=timeout_s))

    def user(self, name: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """See AsyncClient.user."""
        return self._run(self._client.user(name, timeout_s=timeout_s))

    def add_user(self, name: str, password: str | None = None, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.add_user."""
        return self._run(self._client.add_user(name, password, timeout_s=timeout_s))

    def delete_user(self, name: str, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.delete_user."""
        return self._run(self._client.delete_user(name, timeout_s=timeout_s))

    def set_password(self, name: str, password: str | None, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.set_password."""
        return self._run(self._client.set_password(name, password, timeout_s=timeout_s))

    def grant_role(self, user: str, role: str, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.grant_role."""
        return self._run(self._client.grant_role(user, role, timeout_s=timeout_s))

    def revoke_role(self, user: str, role: str, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.revoke_role."""
        return self._run(self._client.revoke_role(user, role, timeout_s=timeout_s))

    def roles(self, *, timeout_s: float | None = None) -> list[dict[str, Any]]:
        """See AsyncClient.roles."""
        return self._run(self._client.roles(timeout_s=timeout_s))

    def role(self, name: str, *, timeout_s: float | None = None) -> dict[str, Any]:
        """See AsyncClient.role."""
        return self._run(self._client.role(name, timeout_s=timeout_s))

    def add_role(self, name: str, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.add_role."""
        return self._run(self._client.add_role(name, timeout_s=timeout_s))

    def delete_role(self, name: str, *, timeout_s: float | None = None) -> int:
        """See AsyncClient.delete_role."""
        return self._run(self._client.delete_role(name, timeout_s=timeout_s))

    def grant_permission(
        self,
        role: str,
        verbs: Sequence[str],
        *,
        key: bytes | None = None,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """See AsyncClient.grant_permission."""
        return self._run(
            self._client.grant_permission(
                role, verbs, key=key, prefix=prefix, start=start, end=end, timeout_s=timeout_s
            )
        )

    def revoke_permission(
        self,
        role: str,
        verbs: Sequence[str],
        *,
        key: bytes | None = None,
        prefix: bytes | None = None,
        start: bytes | None = None,
        end: bytes | None = None,
        timeout_s: float | None = None,
    ) -> int:
        """See AsyncClient.revoke_permission."""
        return self._run(
            self._client.revoke_permission(
                role, verbs, key=key, prefix=prefix, start=start, end=end, timeout_s=timeout_s
            )
        )
