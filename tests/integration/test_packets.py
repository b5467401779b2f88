"""Packets that vanish in the kernel; needs root and nftables, and says so where they cannot be had."""

import socket

import pytest

from kvcluster.packets import Loss
from kvjepsen.capabilities import no_nft


def test_where_all_packets_are_lost_nobody_connects_and_nobody_is_told() -> None:
    if why := no_nft():
        pytest.skip(why)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()[:2]
        loss = Loss([address[1]], 100)
        loss.begin()
        try:
            with pytest.raises(TimeoutError):  # neither refused nor reset
                socket.create_connection(address, timeout=0.2)
        finally:
            dropped = loss.end()
        assert dropped > 0
        socket.create_connection(address, timeout=10).close()
