"""Writes until the file system of the journal is full. Prints a line for every hundred that are acknowledged."""

import sys

from regressions.stock.bench import Bench

bench = Bench("a", directory=sys.argv[1])
bench.advance(2.0)
for number in range(1_000_000):
    answers = bench.nodes["a"].write(f"k{number}", "v" * 1_000)
    try:
        bench.advance(0.15)
    except OSError as error:  # the engine's own thread logs it and goes on
        print(error, file=sys.stderr, flush=True)
    if answers == [0] and number % 100 == 0:
        print(number, flush=True)
