"""The measurements of `kv bench` that put load on a cluster: what to do (plan), by which way (doors), doing it (load,
fanout), what came of it (tally, document), and what is shown meanwhile (live).
"""
