"""Adds up the closing lines of several pytest runs (one a line on standard input) and prints one of the same form."""

import re
import sys

ORDER = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warning", "error")


def add(lines: list[str]) -> str:
    """`===== 3 passed, 1 skipped in 0.12s =====` for each line given, as one such line for all of them."""
    counts = dict.fromkeys(ORDER, 0)
    seconds = 0.0
    for line in lines:
        plain = re.sub(r"\x1b\[[0-9;]*m", "", line)
        for number, word in re.findall(r"(\d+) ([a-z]+)", plain):
            known = word if word in counts else word.removesuffix("s")
            if known in counts:
                counts[known] += int(number)
        took = re.search(r" in ([\d.]+)s", plain)
        seconds += float(took[1]) if took else 0.0
    told = [f"{count} {_word(word, count)}" for word, count in counts.items() if count] or ["no tests ran"]
    return f" {', '.join(told)} in {seconds:.2f}s ".center(80, "=")


def _word(word: str, count: int) -> str:
    return word + "s" if word in ("warning", "error") and count > 1 else word


if __name__ == "__main__":
    print(add(sys.stdin.read().splitlines()))
