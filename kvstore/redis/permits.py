"""What one connection may do, while auth is enabled."""

import asyncio
from functools import partial
from typing import Final

from kvstore import limits
from kvstore.errors import KvError, Unauthenticated
from kvstore.guard import rules
from kvstore.guard.rules import Need
from kvstore.redis.command import Command
from kvstore.redis.permissions import need_of
from kvstore.redis.problems import CommandError, told
from kvstore.redis.replies import Error, Reply, error
from kvstore.redis.services import Services
from kvstore.redis.session import Session
from kvstore.redis.view import Call

# What a command needs, and what kind of thing it is to the audit log then.
_KINDS: Final = {"keys": "read", "channels": "watch"} | {word: word for word in ("read", "write", "delete")}

_NOAUTH: Final = error("NOAUTH", "Authentication required.")


class Permits:
    """The part of a connection that asks; see kvstore.redis.command.Client."""

    services: Services
    session: Session
    _transport: asyncio.Transport

    def call(self, command: Command, arguments: list[bytes]) -> Call:
        assert command.pure is not None
        if not self.services.gate.enabled:
            return Call(command.pure, arguments)
        return Call(command.pure, arguments, partial(self.permit, need_of(command, arguments)))

    def permit(self, need: Need) -> None:
        refused = self._refusal(need)
        if refused is not None:
            raise CommandError(refused.partition(b" ")[2].decode(), refused.partition(b" ")[0].decode())

    def _refusal(self, need: Need) -> Error | None:
        gate, caller = self.services.gate, self.session.caller
        if not gate.enabled:
            return None
        try:
            if caller is None:
                caller = self.session.caller = gate.caller(None, self._transport.get_extra_info("peercert"))
        except Unauthenticated:
            return _NOAUTH
        try:
            need(gate.rights(caller))
        except Unauthenticated as void:
            return error("NOAUTH", void.detail)
        except KvError as forbidden:
            gate.denied_total += 1
            return told(forbidden, read=True)
        return None

    def _audit(self, command: Command | None, arguments: list[bytes], reply: Reply) -> None:
        """Tells the audit log, if there is one, of what was answered."""
        log = self.services.gate.audit
        if log is None or command is None:
            return
        code = reply.split(b" ", 1)[0].decode("ascii", "replace") if type(reply) is Error else None
        kind = _KINDS.get(command.needs.split()[-1] if command.needs else "")
        if not log.wants(kind, refused=code in ("NOAUTH", "NOPERM", "WRONGPASS")):
            return
        caller = self.session.caller
        log.note(
            keys=command.keys_of(arguments),
            door="redis",
            user=None if caller is None else caller.user,
            source=None if caller is None else caller.source,
            address=self.session.address.rpartition(":")[0],
            kind=kind,
            what=command.name,
            level=(self.session.write_level if command.writes else self.session.read_level).value,
            code=code,
            connection=self.session.id,
        )

    def _may(self, verb: int, item: list[bytes]) -> bool:
        """Whether a GET or SET goes the short way. Else the long one tells what is wrong with it."""
        key = item[1]
        if not 0 < len(key) <= limits.KEY_BYTES_MAX:
            return False
        return not self.services.gate.enabled or self._refusal(rules.on_key(verb, key)) is None
