"""The report of a run in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.growth.curve import TOLERANCE, Curve, Fact, Finding
from benchmarks.report import number

_MAY = {"flat": "not at all", "log": "logarithmic", "linear": "linear"}


def write(
    findings: Sequence[Finding], machine: Mapping[str, Any], failed: Mapping[str, str], name: str
) -> str:
    """Return the report; `name` is that of the files."""
    return "\n".join((*_head(findings, machine, failed), *_all(findings, name), ""))


def _head(
    findings: Sequence[Finding], machine: Mapping[str, Any], failed: Mapping[str, str]
) -> Iterator[str]:
    yield f"# How cost grows{' (quick)' if machine['quick'] else ''}\n"
    yield f"{machine['date']}, commit {machine['commit']}, {machine['cores']} cores,"
    yield f"{machine['system']}, Python {machine['python']}, {machine['server']}."
    noise = machine["noise"]
    yield (
        f"Other processes used {min(noise):.0f} to {max(noise):.0f} % of the CPU"
        f" between the measures. The run took {machine['took s']:.0f} s.\n"
    )
    yield f"A bound is kept if the cost is at most {TOLERANCE:g} times what it allows.\n"
    for finding in findings:
        yield from (
            f"- **grows too fast**: {finding.name}, {curve.name}: {curve.excess():.1f} times"
            for curve in finding.curves
            if not curve.is_kept
        )
        yield from (f"- **missed**: {_fact(fact)}" for fact in finding.facts if not fact.is_kept)
    yield from (f"- **failed**: {measure}: {why}" for measure, why in failed.items())


def _all(findings: Sequence[Finding], name: str) -> Iterator[str]:
    for finding in findings:
        yield f"\n## {finding.name}\n"
        if finding.curves:
            yield f"![{finding.name}]({name}-{finding.name}.svg)\n"
            yield from _table(finding)
        yield from (f"- {_fact(fact)}" for fact in finding.facts)


def _table(finding: Finding) -> Iterator[str]:
    sizes = sorted({x for curve in finding.curves for x, _ in curve.points})
    yield f"| {finding.input}: | " + " | ".join(f"{x:,.0f}" for x in sizes) + " | may grow | |"
    yield "|---|" + "---:|" * len(sizes) + "---|---|"
    for curve in finding.curves:
        points = dict(curve.points)
        cells = " | ".join(number(points.get(x)) for x in sizes)
        yield f"| {curve.name}, {curve.unit} | {cells} | {_MAY[curve.order]} | {_verdict(curve)} |"
    yield ""


def _verdict(curve: Curve) -> str:
    return "kept" if curve.is_kept else f"**{curve.excess():.1f} times that**"


def _fact(fact: Fact) -> str:
    bound = "" if fact.most is None else f" (at most {number(fact.most)})"
    return f"{fact.name}: {number(fact.figure)} {fact.unit}".rstrip() + bound
