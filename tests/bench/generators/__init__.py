"""Load generators: wrk and redis-benchmark as they are, and small ones for what has none of its own (native.py)."""
