"""Bad input to a node of a running cluster: the documented answer, and the node goes on serving."""

import json
import os
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest

from kvcluster.pytest_plugin import ClusterFactory
from kvcluster.supervisor import Cluster
from kvcluster.topology import HOST


def ask(url: str, *, method: str = "PUT", body: bytes = b"x") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def raw(port: int, data: bytes) -> bytes:
    """Send `data`, close the sending side, and read until the node closes too."""
    with socket.create_connection((HOST, port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := connection.recv(65_536):
                answer += piece
        except ConnectionResetError:
            pass
        return answer


@pytest.fixture
def cluster(kv_cluster: ClusterFactory) -> Cluster:
    return kv_cluster(3)


def test_every_malformed_request_gets_its_documented_answer_and_the_cluster_goes_on(cluster: Cluster) -> None:
    node = cluster.topology.nodes[0]
    store = f"{node.http}/v1/kv"
    for url, method, body, wanted in (
        (f"{store}/k", "PUT", b"x" * ((1 << 20) + 1), (413, "too_large")),
        (f"{store}/", "PUT", b"x", (400, "bad_request")),
        (f"{store}/{'k' * 4_097}", "PUT", b"x", (414, "too_large")),
        (f"{store}/k?level=most", "PUT", b"x", (400, "bad_request")),
        (f"{store}/k?level=QUORUM", "PUT", b"x", (400, "bad_request")),
        (f"{store}/k?level=one&max_staleness_ms=5", "PUT", b"x", (400, "bad_request")),
        (f"{store}/k?levle=all", "PUT", b"x", (400, "bad_request")),
        (f"{store}/k%zz", "PUT", b"x", (400, "bad_request")),
        (f"{store}/k%4", "PUT", b"x", (400, "bad_request")),
        (f"{store}/k", "POST", b"x", (405, "method_not_allowed")),
        (f"{node.http}/v2/kv/k", "GET", b"", (404, "route_not_found")),
    ):
        status, problem = ask(url, method=method, body=body)
        assert (status, problem["code"]) == wanted, url[:80]
        assert problem["outcome"] == (None if method == "GET" else "not_applied")
        assert problem["request_id"]

    head = b"PUT /v1/kv/half HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw(node.http_port, head + b"5\r\nhello\r\n5\r\nhal")
    raw(node.http_port, b"\x16\x03\x01\x02\x00garbage that is not HTTP\r\n\r\n")
    status, problem = ask(f"{store}/half", method="GET", body=b"")
    assert (status, problem["code"]) == (404, "key_not_found"), "half a body was stored"

    assert ask(f"{store}/{'k' * 4_096}")[0] == 200
    assert ask(f"{store}/largest", body=b"x" * (1 << 20))[0] == 200


def test_garbage_on_the_peer_port_is_counted_and_the_node_goes_on(cluster: Cluster) -> None:
    node = cluster.topology.nodes[0]
    for data in (
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4_096),
        b"\xff\xff\xff\xff" + bytes(64),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        b"",
    ):
        assert ask(f"{node.http}/v1/kv/before")[0] == 200
        assert raw(node.peer_port, data) == b"" or data == b"", (
            "the peer port answers only those who speak its protocol"
        )
    with urllib.request.urlopen(f"{node.http}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    bad = sum(float(line.split()[1]) for line in lines if line.startswith("kv_peer_bad_frames_total"))
    assert bad >= 3
    assert ask(f"{node.http}/v1/kv/after?level=all")[0] == 200
