"""The figures of a chaos run, in the form of the table that stands for real Nova."""

from typing import Any

import msgspec

from tests.chaos.verdict import Verdict

COLUMNS = (
    "killed (down for)",
    "accepted",
    "no answer",
    "as asked",
    "ERROR",
    "stuck",
    "lost",
    "ran twice",
    "allocations leaked",
    "settled after the hit",
    "after it was back",
    "slowest POST",
    "kept",
)


class Result(msgspec.Struct, kw_only=True):
    """One scenario. Seconds; None: never."""

    scenario: str
    down_for: str
    accepted: int
    unanswered: int
    answers: dict[str, int]
    verdict: Verdict
    settled_after_back: float | None
    settled_after_hit: float | None
    slowest_post: float
    load: float


def as_json(result: Result) -> dict[str, Any]:
    """For programs."""
    return dict(msgspec.to_builtins(result))


def table(results: list[Result], *, header: bool = True) -> str:
    """Markdown, one line for each scenario."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))] if header else []
    for result in results:
        verdict = result.verdict
        lines.append(
            _line(
                [
                    result.scenario + (f" ({result.down_for})" if result.down_for else ""),
                    result.accepted,
                    result.unanswered,
                    verdict.active + verdict.deleted,
                    verdict.error,
                    verdict.stuck,
                    verdict.lost,
                    verdict.duplicated,
                    verdict.leaked,
                    _seconds(result.settled_after_hit),
                    _seconds(result.settled_after_back),
                    _seconds(result.slowest_post),
                    "no" if verdict.violations else "yes",
                ]
            )
        )
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
