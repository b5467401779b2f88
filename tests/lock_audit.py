"""Asks the package index for known vulnerabilities of every locked version: python -m tests.lock_audit

It reads requirements-dev.lock and requirements.lock and asks the index that pip is configured for, by its JSON API
(`/pypi/NAME/VERSION/json`), which lists the vulnerabilities of a release and says whether it was withdrawn. What it
could not ask it counts as skipped, with the reason, and never as passed.

Exit codes: 0 all were audited and nothing is known; 1 something is known of one of them; 3 nothing is known, but not
all could be audited.
"""

import argparse
import json
import os
import re
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
OK, FOUND, INCOMPLETE = 0, 1, 3
ANSWER_S_MAX = 20.0
ANSWER_BYTES_MAX = 64 << 20
# After so many in a row that the index does not answer, it is not asked any more.
UNANSWERED_MAX = 3

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")


class Pin(NamedTuple):
    """One locked version."""

    name: str
    version: str


class NotAudited(Exception):
    """Why a version could not be asked for."""


@dataclass
class Audit:
    """What came out. `skipped`: with the reason. `known`: what is wrong, in words."""

    audited: list[Pin] = field(default_factory=list)
    skipped: dict[Pin, str] = field(default_factory=dict)
    known: dict[Pin, list[str]] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """See above."""
        return FOUND if self.known else INCOMPLETE if self.skipped or not self.audited else OK

    def lines(self) -> list[str]:
        """For people: what is known, and how much of the locks this covers."""
        told = [f"{pin.name} {pin.version}: {each}" for pin, found in sorted(self.known.items()) for each in found]
        count = len(self.audited) + len(self.skipped)
        told.append(f"audited {len(self.audited)} of {count} locked versions, {len(self.known)} with something known")
        for reason, number in Counter(self.skipped.values()).most_common():
            told.append(f"skipped {number}: {reason}")
        return told


def pins(texts: Iterable[str]) -> list[Pin]:
    """Every version in lock files, once."""
    found = {
        Pin(match[1].lower(), match[2]) for text in texts for line in text.splitlines() if (match := _PIN.match(line))
    }
    return sorted(found)


def known(document: Any) -> list[str]:
    """What the index says against a release, from its JSON. Raises NotAudited if that is not what it should be."""
    if not isinstance(document, dict) or not isinstance(document.get("vulnerabilities"), list):
        raise NotAudited("the index tells no vulnerabilities")
    found = []
    for each in document["vulnerabilities"]:
        if each.get("withdrawn"):
            continue
        names = " ".join([str(each.get("id")), *map(str, each.get("aliases") or [])])
        fixed = ", ".join(map(str, each.get("fixed_in") or [])) or "no version"
        found.append(
            f"{names}: {' '.join(str(each.get('summary') or each.get('details')).split())[:200]} (fixed: {fixed})"
        )
    info = document.get("info") or {}
    if info.get("yanked"):
        found.append(f"withdrawn from the index: {info.get('yanked_reason') or 'no reason is given'}")
    return found


def audit(locked: list[Pin], ask: Callable[[Pin], Any]) -> Audit:
    """`ask` gives the JSON of a release, or raises NotAudited."""
    result = Audit()
    silent: list[str] = []
    for pin in locked:
        if len(silent) >= UNANSWERED_MAX:
            result.skipped[pin] = f"the index does not answer such questions ({silent[-1]})"
            continue
        try:
            found = known(ask(pin))
        except NotAudited as why:
            result.skipped[pin] = str(why)
            silent.append(str(why))
            continue
        silent.clear()
        result.audited.append(pin)
        if found:
            result.known[pin] = found
    return result


def asker(base: str) -> Callable[[Pin], Any]:
    """Asks the JSON API at `base`."""
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)

    def ask(pin: Pin) -> Any:
        try:
            with urllib.request.urlopen(
                f"{base}/{pin.name}/{pin.version}/json", timeout=ANSWER_S_MAX, context=context
            ) as answer:
                return json.loads(answer.read(ANSWER_BYTES_MAX))
        except urllib.error.HTTPError as refused:
            raise NotAudited(f"HTTP status {refused.code}") from refused
        except (OSError, ValueError) as failed:
            raise NotAudited(type(getattr(failed, "reason", failed)).__name__) from failed

    return ask


def api_base() -> str:
    """Where the index that pip uses has its JSON API: what is configured, or pip's own default."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    index = os.environ.get("PIP_INDEX_URL") or told.stdout.strip()
    if not index:
        from pip._internal.models.index import PyPI

        return str(PyPI.pypi_url)
    return index.rstrip("/").removesuffix("/simple") + "/pypi"


def main() -> int:
    """Print what is known and how much was audited."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    result = audit(pins((ROOT / name).read_text() for name in LOCKS), asker(api_base()))
    print("\n".join(result.lines()))
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main())
