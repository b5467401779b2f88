"""What a new cluster makes of the contents of another one: of a backup, or of a member that has lost its majority.

N1. Revisions go on far above all that the old cluster can have reached, so that they never go backwards for anybody who
    knows it; what it was like before is compacted, so that a watch or a read from there is told so.
N2. The counters that ids are made from go on there too: a lease or a session that the old cluster has given out after
    the backup is never somebody else's here.
N3. All the rest stays: records, tombstones, stamps, leases, sessions, idempotency keys, and the marks and results of
    level ONE writes. What was answered is answered the same. Of a write that is not in here the receipt says "lost":
    its sequence is above the mark, or its epoch is not among those that are kept, and not older than they are.
N4. Users and roles stay, but not the keys that sign tokens: what one cluster has signed is nothing to the other. If
    it is opened, auth is not enabled in the new one; that is the way back in for who has lost root's password.
"""

from typing import Final

from kvstore.state.contents import Contents
from kvstore.state.digest import DIGEST_MASK
from kvstore.state.history import History

REVISIONS_SKIPPED: Final = 1_000_000_000


def begin_anew(contents: Contents, *, opened: bool = False) -> None:
    """Rules N1 to N4."""
    contents.revision += REVISIONS_SKIPPED
    contents.history = History()
    contents.history.compacted = contents.revision
    contents.leases.next_id += REVISIONS_SKIPPED
    contents.sessions.next_number += REVISIONS_SKIPPED
    before = contents.auth.digest
    contents.auth.begin_anew(opened=opened)
    contents.digest = (contents.digest - before + contents.auth.digest) & DIGEST_MASK
