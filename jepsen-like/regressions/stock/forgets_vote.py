"""A node votes, is killed and started again on its files, and is asked for a second vote in the same term."""

import sys

from pysyncobj.version import VERSION  # type: ignore[import-untyped]

from regressions.stock.bench import Bench, verdict

bench = Bench("a", "b", "c", directory=sys.argv[1])


def ask(candidate: str) -> None:
    request = {"type": "request_vote", "term": 5, "last_log_index": 1, "last_log_term": 0}
    bench.wires[candidate, "a"].append(request)
    bench.deliver((candidate, "a"))


def votes(candidate: str) -> int:
    return sum(message["type"] == "response_vote" for message in bench.wires["a", candidate])


ask("b")
first = votes("b")
again = bench.start("a")
term = again.raftCurrentTerm
ask("c")
verdict(version=VERSION, first_vote=first, term_after_restart=term, second_vote_in_the_same_term=votes("c"))
