"""The mini-language of `kv txn`: three blocks with an empty line after each, as etcdctl has it. Pure.

    value("color") = "blue"         comparisons: value, version, create, mod, lease with = != < >;
    !exists("owner")                exists and !exists

    put owner "me and you"          if all hold
    get color

    get owner                       else

A line is cut into words as a shell would: quotes hold spaces together. A line that begins with # is left out.
"""

import re
import shlex
from typing import Any, Final

from kvcli.options import key_bytes
from kvstore.client import txn
from kvstore.client.txn import Comparison, Step

_COMPARISON: Final = re.compile(r"\s*(\w+)\s*\((.*)\)\s*(=|!=|<|>)\s*(.+?)\s*")
_EXISTS: Final = re.compile(r"\s*(!?)\s*exists\s*\((.*)\)\s*")
_TARGETS: Final[dict[str, Any]] = {
    "value": "value",
    "version": "version",
    "ver": "version",
    "create": "create_revision",
    "create_revision": "create_revision",
    "mod": "mod_revision",
    "mod_revision": "mod_revision",
    "lease": "lease",
}


def parse(text: str) -> tuple[list[Comparison], list[Step], list[Step]]:
    """The three lists. Raises ValueError that names the line."""
    blocks: list[list[tuple[int, str]]] = [[]]
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#"):
            continue
        if line.strip():
            if len(blocks) > 3:
                raise ValueError(f"line {number}: there are three blocks: comparisons, then, else")
            blocks[-1].append((number, line))
        else:
            blocks.append([])
    compare, then, otherwise = [*blocks, [], []][:3]
    return (
        [_at(number, _comparison, line) for number, line in compare],
        [_at(number, _step, line) for number, line in then],
        [_at(number, _step, line) for number, line in otherwise],
    )


def _at(number: int, parse_line: Any, line: str) -> Any:
    try:
        return parse_line(line)
    except ValueError as wrong:
        raise ValueError(f"line {number}: {wrong}") from wrong


def _word(text: str) -> str:
    words = shlex.split(text)
    if len(words) != 1:
        raise ValueError(f"one word is wanted, not {text.strip()!r}; put quotes around it")
    return words[0]


def _comparison(line: str) -> Comparison:
    if match := _EXISTS.fullmatch(line):
        found = txn.exists(key_bytes(_word(match[2])))
        return ~found if match[1] else found
    match = _COMPARISON.fullmatch(line)
    if match is None or match[1] not in _TARGETS:
        raise ValueError('a comparison is like value("k") = "v", mod("k") > 5 or !exists("k")')
    target, relation, to = _TARGETS[match[1]], match[3], _word(match[4])
    if target != "value" and not to.isdecimal():
        raise ValueError(f"{match[1]} is compared to a whole number")
    key = key_bytes(_word(match[2]))
    return Comparison(target, key, relation, key_bytes(to) if target == "value" else int(to))  # type: ignore[arg-type]


def _step(line: str) -> Step:
    name, *words = shlex.split(line)
    prefix = "--prefix" in words
    lease = 0
    plain = []
    for word in words:
        if word.startswith("--lease="):
            if not word[8:].isdecimal():
                raise ValueError("a lease is a whole number")
            lease = int(word[8:])
        elif word != "--prefix":
            plain.append(key_bytes(word))
    match name, plain:
        case "put", [key, value] if not prefix:
            return txn.Put(key, value, lease)
        case "get", [key] if not lease:
            return txn.Range(prefix=key) if prefix else txn.Get(key)
        case "del" | "delete", [key] if not lease:
            return txn.DeleteRange(prefix=key) if prefix else txn.Delete(key)
    raise ValueError("a request is: put KEY VALUE [--lease=ID], get KEY [--prefix], or del KEY [--prefix]")
