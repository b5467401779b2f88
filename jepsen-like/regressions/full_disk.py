"""Fills the file system at the path given with a journal of this store, and prints what happened as JSON."""

import json
import os
import sys

from kvstore.consensus.disk import OsDisk
from kvstore.consensus.journal import Journal
from kvstore.errors import StorageFull

SEGMENT_BYTES = 64 << 10
COMMAND = b"\0" + b"v" * 1_000


def main(directory: str) -> None:
    """Append until there is no room, read, restart, and make room."""
    path = os.path.join(directory, "journal")
    journal = Journal.open(OsDisk(), path, segment_bytes=SEGMENT_BYTES)
    acknowledged = refused = 1
    while refused < 10:
        index = journal.entries[-1][1] + 1
        journal.append(COMMAND, index, 1)
        try:
            journal.sync()
            acknowledged = index
        except StorageFull:
            refused += 1
    term_with_reserve = False
    journal.truncate(acknowledged + 1)
    journal.set_term(2, "a")
    journal.sync(reserve=True)
    term_with_reserve = journal.durable_term == 2
    journal.close()
    again = Journal.open(OsDisk(), path, segment_bytes=SEGMENT_BYTES)
    print(
        json.dumps(
            {
                "acknowledged": acknowledged,
                "readable": all(command == COMMAND for command, _, _ in again.entries[1:]),
                "last_after_restart": again.entries[-1][1],
                "term_with_reserve": term_with_reserve,
            }
        )
    )
    again.close()


if __name__ == "__main__":
    main(sys.argv[1])
