"""The replicated state: pure and deterministic. It reads no clock, no random number, no file, no socket, no setting of
one node, and nothing that depends on hash order: every node that applies the same log holds the same content.

    machine.py    the rules: what each operation does, conditions, revisions, stamps, tombstones
    contents.py   everything that is replicated, as one plain object
    keyspace.py   a sorted map, counted and paged by bisection
    walk.py       a walk over a sorted map as it was at one moment, while it goes on changing
    digest.py     64 bits that say whether two nodes hold the same content
    snapshot.py   the contents as a stream of bounded frames, and back
    settings.py   the replicated settings
"""
