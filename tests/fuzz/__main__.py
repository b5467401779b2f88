"""Damaged frames, requests and commands against a live cluster of three under load; see tests/fuzz/__init__.py.

    python -m tests.fuzz --out fuzz     # 2,000,000 frames, 196,000 and 4,000 requests, 200,000 commands
    python -m tests.fuzz --out fuzz --frames 10000 --requests 2000 --api-requests 300 --commands 2000
    python -m tests.fuzz --out fuzz --tls --frames 20000  # every door with TLS, the fuzzer has a node's certificate

A run that was interrupted goes on where it was, if it is given the same folder. What happened is in `summary.json`
there; the exit code is 1 if anything was wrong, and `wrong` says what. A conversation is repeated by its number with
tests/fuzz/worker.py.
"""

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign, Target


def main() -> int:
    """Run it and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="a folder for everything")
    parser.add_argument("--frames", type=int, default=2_000_000)
    parser.add_argument("--requests", type=int, default=196_000, help="damaged ones")
    parser.add_argument("--api-requests", type=int, default=4_000, help="made from /openapi.json by schemathesis")
    parser.add_argument("--commands", type=int, default=200_000, help="of the Redis door")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    target = Target(options.frames, options.requests, options.api_requests, options.commands, options.seed, options.tls)
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {line}", file=sys.stderr, flush=True)

    summary = asyncio.run(Campaign(target, options.out.absolute(), say).run())
    print(json.dumps(summary, indent=1))
    for problem in summary["wrong"]:
        say(f"WRONG: {problem}")
    return 1 if summary["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
