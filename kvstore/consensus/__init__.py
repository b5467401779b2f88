"""Consensus: PySyncObj as a core without I/O, a gate of pure rules around it, and what it stands on (journal,
snapshots, transport). `raft.py` is the only file that touches the library's private names.
"""
