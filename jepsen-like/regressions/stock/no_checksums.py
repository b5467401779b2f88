"""One bit of an acknowledged write changes in the journal of a node."""

import sys
from pathlib import Path

from regressions.stock.bench import Bench, verdict

bench = Bench("a", directory=sys.argv[1])
answers = bench.nodes["a"].write("k", "a value that was acknowledged")
bench.advance(2.0)
path = Path(sys.argv[1], "a.journal")
data = bytearray(path.read_bytes())
data[data.index(b"acknowledged")] ^= 0x02
path.write_bytes(data)
again = bench.start("a")
bench.advance(2.0)
verdict(acknowledged=answers == [0], starts_and_leads=again.leads, reads=again.data["k"])
