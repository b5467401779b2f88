"""`kv` with a bug, and ready to be given orders: `python -m kvjepsen.mutated serve ...`, with KV_MUTANT naming it."""

import os
from typing import Final

from kvjepsen import faulty, held_disk
from kvjepsen.server_mutants import MUTANTS

PROGRAM: Final = "kvjepsen.mutated"
VARIABLE: Final = "KV_MUTANT"


def main() -> None:
    """One node with the bug that the environment names."""
    held_disk.install_if_wanted()  # first, so that an fsync which the bug skips is this disk's
    mutant, _ = MUTANTS[os.environ[VARIABLE]]
    with mutant():
        faulty.main()


if __name__ == "__main__":
    main()
