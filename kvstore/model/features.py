"""Feature levels: what a cluster may put into its log while nodes of different versions run together.

Whoever applies a command must know it, or stop. So an operation that came after the first version names the level that
it needs, and is put into the log only once every member has told, in its handshake, that it knows that level. The first
time this is seen it is written into the replicated state (`feature_level`, 1 where it is not there), and holds for
good: a version that is older than that cannot be a member any more.

    1   everything up to the first version that told its level
    2   OP_SET: replicated settings that can be changed
    3   OP_AUTH, OP_CHECKED: users, roles, permissions
"""

from typing import Final

from kvstore.model.commands import OP_AUTH, OP_CHECKED, OP_SET, Op

LEVEL: Final = 3
FEATURE_LEVEL: Final = "feature_level"

_NEEDS: Final = {OP_SET: 2, OP_AUTH: 3, OP_CHECKED: 3}


def needed(op: Op) -> int:
    """The level that `op` needs."""
    return _NEEDS.get(op[0], 1)
