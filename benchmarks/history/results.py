"""What was measured, as a table to read and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from benchmarks.history.filling import Size
from benchmarks.history.measures import WANTED_MS, WANTED_RATIO, Figure
from benchmarks.history.rates import IngestShare, Rate

WANTED_SHARE = 0.10


@dataclass(frozen=True, slots=True)
class Compared:
    """One kind of question at the full size and at a hundredth of it."""

    full: Figure
    hundredth: Figure

    @property
    def ratio(self) -> float:
        """Return how many times longer the 95th percentile is at the full size."""
        return self.full.p95_ms / self.hundredth.p95_ms if self.hundredth.p95_ms else 0.0

    @property
    def missed(self) -> str:
        """Return what is asked of it and not reached, in words; empty where all is."""
        slow = f"over {WANTED_MS:.0f} ms" if self.full.p95_ms > WANTED_MS else ""
        grows = f"over {WANTED_RATIO} times" if self.ratio > WANTED_RATIO else ""
        return ", ".join(filter(None, (slow, grows)))


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that one run measured, and where."""

    kind: str
    size: Size
    settings: Mapping[str, str]
    load_before: float
    compared: Sequence[Compared]
    rates: Sequence[Rate]
    ingest: IngestShare | None

    def as_json(self) -> dict[str, object]:
        """Return it for a program."""
        machine = {"cpus": os.cpu_count(), "machine": platform.machine(), "load_before": round(self.load_before, 2)}
        return {
            "database": {"kind": self.kind, **self.settings},
            "machine": machine,
            "size": asdict(self.size),
            "questions": [
                {"name": each.full.name, "full": asdict(each.full), "hundredth": asdict(each.hundredth)}
                | {"ratio": round(each.ratio, 2)}
                for each in self.compared
            ],
            "rates": [asdict(rate) | {"per_second": round(rate.per_second, 1)} for rate in self.rates],
            "ingest": asdict(self.ingest) | {"share": round(self.ingest.share, 4)} if self.ingest else None,
        }

    def lines(self) -> Iterator[str]:
        """Return it as Markdown."""
        told = ", ".join(f"{name} {value}" for name, value in self.settings.items())
        yield f"{self.kind}{f' ({told})' if told else ''}: {self.size.studies:,} studies, {self.size.events:,} events;"
        yield f"{os.cpu_count()} CPUs, load average before: {self.load_before:.1f}"
        yield ""
        yield "| question | p50 ms | p95 ms | p95 ms at a hundredth | ratio | |"
        yield "|---|---|---|---|---|---|"
        for each in self.compared:
            yield (
                f"| {each.full.name} | {each.full.p50_ms:.1f} | {each.full.p95_ms:.1f} "
                f"| {each.hundredth.p95_ms:.1f} | {each.ratio:.2f} | {each.missed} |"
            )
        yield ""
        yield "| work | how many | seconds | per second | wanted |"
        yield "|---|---|---|---|---|"
        for rate in self.rates:
            yield f"| {rate.name} | {rate.count:,} | {rate.seconds:.1f} | {rate.per_second:,.0f} | {rate.wanted} |"
        if self.ingest is not None:
            yield ""
            yield (
                f"Share of the audit in {self.ingest.images} images stored durably: {self.ingest.share:.1%} "
                f"(under {WANTED_SHARE:.0%} wanted)"
            )
