"""Hostile input at size, against a live cluster of three under load: python -m tests.fuzz --help.

Peers' frames, requests and commands begin as valid ones and are then damaged. Meanwhile a load goes on whose every
write is known, and a watch sees everything that the store takes: what nobody asked for is found.

    corpus.py      messages of a real cluster on virtual time, the beginning of all frames
    frames.py      conversations with the peer port, and how each has to end
    requests.py    conversations with the HTTP door and the Redis door
    mutations.py   what is done to bytes
    attack.py      carries conversations out against ports, and notes whatever does not end as it has to
    worker.py      the process that does it, in parts that can be repeated one by one
    load.py        the load, the watch, and the ledger that is held against it
    eyes.py        memory, files, counters and logs of the nodes
    campaign.py    a cluster, the phases, the verdict
"""
