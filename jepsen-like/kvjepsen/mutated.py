"""`kv` with a bug, and ready to be given orders: `python -m kvjepsen.mutated serve ...`, with KV_MUTANT naming it."""

import os
from typing import Final

from kvjepsen import faulty
from kvjepsen.server_mutants import MUTANTS

PROGRAM: Final = "kvjepsen.mutated"
VARIABLE: Final = "KV_MUTANT"


def main() -> None:
    """One node with the bug that the environment names."""
    mutant, _ = MUTANTS[os.environ[VARIABLE]]
    with mutant():
        faulty.main()


if __name__ == "__main__":
    main()
