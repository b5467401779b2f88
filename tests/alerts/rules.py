"""The rules as they are, and for people in a hurry: every `for` and every range a factor shorter, all else the same."""

import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
DEPLOY: Final = ROOT / "cluster" / "deploy"
RULES: Final = DEPLOY / "prometheus" / "alerts.yml"
# Two scrapes, one second apart, have to lie in a range, also on a machine that is busy.
RANGE_S_MIN: Final = 10
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_DURATION: Final = re.compile(r"(\d+)([smhd])")
_RANGE: Final = re.compile(r"\[(\d+[smhd])\]")


def rules() -> list[dict[str, Any]]:
    """All of them, as the file has them."""
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def seconds(duration: str) -> int:
    """What a duration of Prometheus, of one unit, says. Raises ValueError."""
    match = _DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"not a duration of one unit: {duration}")
    return int(match[1]) * _UNITS[match[2]]


def hastened(factor: float) -> str:
    """The file with all durations `factor` times shorter; a range has RANGE_S_MIN seconds at least."""

    def shorter(match: re.Match[str]) -> str:
        return f"[{max(RANGE_S_MIN, round(seconds(match[1]) / factor))}s]"

    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in document["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            rule["for"] = f"{round(seconds(rule['for']) / factor)}s"
            rule["expr"] = _RANGE.sub(shorter, rule["expr"])
    return yaml.safe_dump(document, sort_keys=False, width=1_000)
