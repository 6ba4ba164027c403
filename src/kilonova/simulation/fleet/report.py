"""What a played workload comes to: numbers, a table, a picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kilonova.model.errors import Misconfigured
from kilonova.simulation.fleet.full import FullyPlayed
from kilonova.simulation.fleet.play import Played, Sample

_REASONS = 8


def figures(played: Played) -> dict[str, Any]:
    """As ``--json`` prints it. What depends on the machine stands under ``timing``, all else is the seed's."""
    fullest = max(played.samples, key=lambda sample: sample.memory, default=None)
    return {
        "hosts": played.hosts,
        "asked": played.asked,
        "placed": played.placed,
        "failed": played.failed,
        "reasons": played.reasons,
        "fairness": round(played.fairness, 4),
        "fullest": None if fullest is None else _figures(fullest),
        "end": _figures(played.samples[-1]) if played.samples else None,
        "digest": f"{played.digest:012x}",
        "timing": timing(played),
    }


def _figures(sample: Sample) -> dict[str, float]:
    return {name: round(float(getattr(sample, name)), 4) for name in Sample.__struct_fields__}


def timing(played: Played) -> dict[str, float]:
    """Decisions a second of processor time, and their milliseconds one by one."""
    ranked = sorted(played.latencies) or [0.0]
    return {
        "decisions_per_s": round(played.asked / played.seconds, 1) if played.seconds else 0.0,
        "median_ms": round(ranked[len(ranked) // 2], 3),
        "p99_ms": round(ranked[int(len(ranked) * 0.99)], 3),
    }


def lines(played: Played) -> Iterator[str]:
    """The table."""
    found = figures(played)
    yield f"{found['placed']:,} of {found['asked']:,} servers placed on {found['hosts']:,} hosts, {found['failed']:,} failed"
    for reason, count in list(found["reasons"].items())[:_REASONS]:
        yield f"    {count:>9,}  nearest host lacked: {reason}"
    yield ""
    yield f"{'':<10}{'servers':>10}{'cores':>9}{'memory':>9}{'disk':>9}{'stranded cores':>17}{'stranded memory':>17}"
    for name in ("fullest", "end"):
        if (sample := found[name]) is not None:
            yield (
                f"{name:<10}{int(sample['servers']):>10,}{sample['vcpus']:>9.1%}{sample['memory']:>9.1%}{sample['disk']:>9.1%}"
                f"{sample['stranded_vcpus']:>17.1%}{sample['stranded_memory']:>17.1%}"
            )
    yield ""
    clock = found["timing"]
    yield (
        f"{clock['decisions_per_s']:,.0f} decisions/s of one core, median {clock['median_ms']:g} ms, "
        f"p99 {clock['p99_ms']:g} ms; fairness between projects {found['fairness']:.3f}"
    )
    yield f"same seed, same decisions: {found['digest']}"


def full_figures(played: FullyPlayed) -> dict[str, Any]:
    """The same of a whole control plane. Waits are virtual seconds from POST to ACTIVE, and the seed's."""
    waits = played.waits or [0.0]
    return {
        "hosts": played.hosts,
        "asked": played.asked,
        "active": played.active,
        "failed": played.failed,
        "reasons": {**played.reasons, **played.refused},
        "breaches": played.breaches,
        "wait_median_s": round(waits[len(waits) // 2], 3),
        "wait_p99_s": round(waits[int(len(waits) * 0.99)], 3),
        "virtual_s": round(played.virtual, 3),
        "timing": {
            "cpu_ms_per_server": round(played.seconds / max(played.asked, 1) * 1000, 2),
            "servers_per_cpu_s": round(played.asked / played.seconds, 1) if played.seconds else 0.0,
        },
    }


def full_lines(played: FullyPlayed) -> Iterator[str]:
    """The table of a whole control plane."""
    found = full_figures(played)
    yield (
        f"{found['active']:,} of {found['asked']:,} servers became ACTIVE on {found['hosts']:,} hosts, "
        f"{found['failed']:,} failed; others were deleted on their way"
    )
    for reason, count in list(found["reasons"].items())[:_REASONS]:
        yield f"    {count:>9,}  {reason}"
    for breach in found["breaches"][:_REASONS]:
        yield f"    a rule is broken: {breach}"
    yield f"POST to ACTIVE in virtual time: median {found['wait_median_s']:g} s, p99 {found['wait_p99_s']:g} s"
    clock = found["timing"]
    yield (
        f"{clock['servers_per_cpu_s']:,.0f} servers/s of one core, {clock['cpu_ms_per_server']:g} CPU-ms each, all services "
        "and every host's heartbeats included"
    )


def draw(played: Played, path: Path) -> None:
    """A PNG: what was claimed, what was stranded, what failed, over virtual time. Raises ``Misconfigured`` without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        raise Misconfigured("pictures need matplotlib: pip install 'kilonova[plots]'") from None
    mpl.use("Agg")
    from matplotlib import pyplot

    minutes = [sample.at / 60 for sample in played.samples]
    figure, (shares, counts) = pyplot.subplots(2, 1, sharex=True, figsize=(9, 6), height_ratios=(2, 1))
    for name, label in (("vcpus", "cores"), ("memory", "memory"), ("disk", "disk")):
        shares.plot(minutes, [getattr(sample, name) for sample in played.samples], label=f"{label} claimed")
    for name, label in (("stranded_vcpus", "cores"), ("stranded_memory", "memory")):
        shares.plot(minutes, [getattr(sample, name) for sample in played.samples], "--", label=f"{label} stranded")
    shares.set_ylim(0, 1)
    shares.set_ylabel("share of the fleet")
    shares.legend(loc="upper left", fontsize="small")
    shares.set_title(f"{played.asked:,} servers asked of {played.hosts:,} hosts, {played.failed:,} failed")
    counts.plot(minutes, [sample.servers for sample in played.samples], label="servers there")
    counts.plot(minutes, [sample.failed for sample in played.samples], label="failed so far")
    counts.set_xlabel("minutes of virtual time")
    counts.legend(loc="upper left", fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
