"""The replicated state: pure and deterministic. It reads no clock, no random number, no file, no socket, no setting of
one node, and nothing that depends on hash order: every node that applies the same log holds the same content.

    machine.py      the rules, and what everyone outside may ask
    operations.py   what each operation of a client does
    intents.py      what writes at level ONE do, which one node has acknowledged before
    transacting.py  transactions
    changes.py      what one put and one delete do, whoever ordered them
    contents.py     everything that is replicated, as one plain object
    raw.py          the forms of records and tombstones in it
    keyspace.py     a sorted map, counted and paged by bisection
    leases.py       leases and the keys that go with them
    history.py      what each revision changed, for as far back as is kept
    past.py         the present laid over with what it was at an older revision
    sessions.py, idempotency.py, origins.py  by which repetitions are known
    walk.py         a walk over a sorted map as it was at one moment, while it goes on changing
    digest.py       64 bits that say whether two nodes hold the same content
    snapshot.py     the contents as a stream of bounded frames, and back
    settings.py     the replicated settings
"""
