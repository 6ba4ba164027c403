"""One table of what the same work came to on two sides: work | theirs | ours | ratio."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.closed_loop import Cost

WORK = {
    "servers x1": "a server, POST to ACTIVE, one client",
    "servers x8": "a server, POST to ACTIVE, 8 clients",
    "decisions x1": "a scheduling decision with its claim, one waiting",
    "decisions x8": "a scheduling decision with its claim, 8 waiting",
    "candidates x1": "GET /allocation_candidates, one client",
}
"""What the works that costs are kept under are called."""


@dataclass(frozen=True)
class Figure:
    """One of the numbers of a cost, and whether more of it is better."""

    name: str
    of: Callable[[Cost], float]
    more_is_better: bool = False


CPU = (
    Figure("CPU-ms, services", lambda cost: cost.cpu_ms),
    Figure("CPU-ms, and their backing", lambda cost: cost.cpu_ms_with_backing),
)
WALL = (
    Figure("p50, ms", lambda cost: cost.median_ms),
    Figure("per second", lambda cost: cost.per_second, more_is_better=True),
)


def ratio(theirs: float, ours: float, *, more_is_better: bool = False) -> str:
    """By how much ours is better; "-" where one of them is too small to be told from nothing."""
    if theirs <= 0 or ours <= 0:
        return "-"
    better = ours / theirs if more_is_better else theirs / ours
    return f"{better:.0f}x" if better >= 10 else f"{better:.1f}x"


def rows(theirs: Mapping[str, Cost], ours: Mapping[str, Cost]) -> list[tuple[str, str, str, str]]:
    """Processor time first, the wall's second; a work that one side could not do has no row."""
    found = []
    for figures in (CPU, WALL):
        for work, name in WORK.items():
            if work not in theirs or work not in ours:
                continue
            for figure in figures:
                one, other = figure.of(theirs[work]), figure.of(ours[work])
                better = ratio(one, other, more_is_better=figure.more_is_better)
                found.append((f"{name}: {figure.name}", f"{one:g}", f"{other:g}", better))
    return found


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Markdown that is aligned for reading as it is; all columns but the first to the right."""
    widths = [max(len(row[column]) for row in (head, *body)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(cells)} |"

    rule = f"|{'-' * (widths[0] + 2)}|{'|'.join('-' * (width + 1) + ':' for width in widths[1:])}|"
    return "\n".join([line(head), rule, *(line(row) for row in body)])
