"""The service layer of one node: writes and reads by level, on the engine and the state machine. No sockets, no
disk.
"""
