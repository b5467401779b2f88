"""Between the doors and the node, while auth is enabled: who asks, and whether that may be done.

    gate.py    who asks: tokens, passwords, certificates; what was verified is remembered
    store.py   the store as one caller may use it: the same calls, each of them checked
    rules.py   what an operation needs
    streams.py watches and backups of one caller

A call is checked against the users and roles that this node has applied. A write carries the auth revision at which
that was done, and the state machine carries it out only if it still is the present one (rule A2 of
`kvstore.state.auth`): that is the check which decides. If it is not, the call is checked anew here, once this node has
applied the change. A read is checked again when its answer is there, if anything was changed meanwhile.
"""

from kvstore.guard.gate import Caller, Gate
from kvstore.guard.store import GuardedStore

__all__ = ["Caller", "Gate", "GuardedStore"]
