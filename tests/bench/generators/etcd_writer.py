"""One write after the other by etcd's gateway, over the end of nodes: see `writes` in native.py.

An attempt takes 250 ms at most; after a failure it goes on at the next endpoint.
"""

import argparse
import http.client
import json
import os
import sys
import threading
import time

from tests.bench.systems.etcd_http import put_body

ATTEMPT_S = 0.25
RETRY_S = 0.002


def _write(address: str, body: bytes, kept: dict[str, http.client.HTTPConnection]) -> bool:
    connection = kept.get(address) or http.client.HTTPConnection(address, timeout=ATTEMPT_S)
    try:
        connection.request("POST", "/v3/kv/put", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        kept.pop(address, None)
        connection.close()
        return False
    kept[address] = connection
    return answer.status == 200


def _until_end_of_input() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> int:
    """Write until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--endpoints", required=True)
    addresses = parser.parse_known_args()[0].endpoints.split(",")
    body = json.dumps(put_body(b"failover")).encode()
    kept: dict[str, http.client.HTTPConnection] = {}
    threading.Thread(target=_until_end_of_input, daemon=True).start()
    turn = 0
    while True:
        if _write(addresses[turn % len(addresses)], body, kept):
            sys.stdout.write(".\n")
            sys.stdout.flush()
        else:
            turn += 1
            time.sleep(RETRY_S)


if __name__ == "__main__":
    sys.exit(main())
