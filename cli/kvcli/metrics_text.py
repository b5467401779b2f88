"""The text of a node's `/metrics`, read: samples by name and labels, and what a histogram says.

Bounded by METRICS_SAMPLES_MAX; lines that cannot be read are left out, for another version may write others.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from kvstore import limits

Labels = frozenset[tuple[str, str]]
NONE: Final[Labels] = frozenset()


class Samples:
    """Samples of one node at one moment."""

    def __init__(self, values: Mapping[str, Mapping[Labels, float]]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, **labels: str) -> float | None:
        """The sample with exactly these labels; None if there is none."""
        return self._values.get(name, {}).get(frozenset(labels.items()))

    def rows(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """Every sample of this name, with its labels."""
        for labels, value in self._values.get(name, {}).items():
            yield dict(labels), value

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels, whatever others they have; None if there is none."""
        wanted = set(labels.items())
        found = [value for having, value in self._values.get(name, {}).items() if wanted <= having]
        return sum(found) if found else None

    def buckets(self, name: str, **labels: str) -> "Buckets":
        """A histogram, added up over all labels but these."""
        wanted = set(labels.items())
        counts: dict[float, float] = {}
        for having, value in self._values.get(f"{name}_bucket", {}).items():
            if wanted <= having:
                edge = float(dict(having)["le"])
                counts[edge] = counts.get(edge, 0.0) + value
        return Buckets(tuple(sorted(counts.items())))


class Buckets(NamedTuple):
    """(upper edge in seconds, how many took that long at most), in order."""

    counts: tuple[tuple[float, float], ...]

    @property
    def total(self) -> float:
        """How many there are."""
        return self.counts[-1][1] if self.counts else 0.0

    def since(self, before: "Buckets") -> "Buckets":
        """What came after `before`; everything, if that was another process."""
        known = dict(before.counts)
        counts = tuple((edge, count - known.get(edge, 0.0)) for edge, count in self.counts)
        return Buckets(counts) if all(count >= 0 for _, count in counts) else self

    def plus(self, other: "Buckets") -> "Buckets":
        """Both together."""
        edges = sorted({edge for edge, _ in (*self.counts, *other.counts)})
        mine, theirs = dict(self.counts), dict(other.counts)
        return Buckets(tuple((edge, mine.get(edge, 0.0) + theirs.get(edge, 0.0)) for edge in edges))

    def quantile(self, share: float) -> float | None:
        """Seconds that `share` of them took at most, by straight lines within buckets; the highest edge for more."""
        wanted, below, edge_below = share * self.total, 0.0, 0.0
        if not self.total:
            return None
        for edge, count in self.counts:
            if count >= wanted and count > below:
                if math.isinf(edge):
                    return edge_below
                return edge_below + (edge - edge_below) * (wanted - below) / (count - below)
            below, edge_below = count, edge
        return edge_below


def read(text: str) -> Samples:
    """What stands in `text`. Raises ValueError if it is no exposition."""
    values: dict[str, dict[Labels, float]] = {}
    count = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            count += 1
            if count > limits.METRICS_SAMPLES_MAX:
                raise ValueError(f"more than {limits.METRICS_SAMPLES_MAX:,} samples")
            values.setdefault(sample.name, {})[frozenset(sample.labels.items())] = float(sample.value)
    return Samples(values)
