"""Which operations may go into the log while members of different versions run together (kvstore.model.features)."""

from collections.abc import Callable

from kvstore.errors import UpgradeIncomplete
from kvstore.model.commands import Op, set_setting
from kvstore.model.features import FEATURE_LEVEL, LEVEL, needed
from kvstore.node.site import Site
from kvstore.state.machine import Machine


class Features:
    """Asks the members before the first operation that needs a higher level."""

    def __init__(self, site: Site, machine: Callable[[], Machine]) -> None:
        self._site = site
        self._machine = machine

    def before(self, op: Op) -> Op | None:
        """On the leader: what has to stand in the log in front of `op`, None for nothing. Raises UpgradeIncomplete."""
        level = needed(op)
        if level <= 1 or level <= self._machine().feature_level:
            return None
        self._check(level, self._site.engine.configuration.names)
        return set_setting(FEATURE_LEVEL, level)

    def check_leader(self, leader: str, op: Op) -> None:
        """Before `op` is passed on. Raises UpgradeIncomplete."""
        if (level := needed(op)) > 1:
            self._check(level, (leader,))

    def _check(self, level: int, names: tuple[str, ...]) -> None:
        old, silent = [], []
        for name in names:
            peer = self._site.engine.peer(name)
            known = LEVEL if name == self._site.engine.name else None if peer is None else peer.features
            if known is None:
                silent.append(name)
            elif known < level:
                old.append(name)
        if old or silent:
            told = [f"{', '.join(old)} must be upgraded"] if old else []
            told += [f"{', '.join(silent)} cannot be asked"] if silent else []
            raise UpgradeIncomplete(
                f"every member has to know this operation before it is used for the first time: {'; '.join(told)}",
                missing=(*old, *silent),
            )
