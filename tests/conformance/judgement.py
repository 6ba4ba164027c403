"""The oracle's verdict over all recordings of a run."""

import json
import re
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conformance.judged_cloud import ROOT, judges

_QUOTED = re.compile(r"(['\"]).*?\1")  # the values: they make one complaint look like many
SHOWN = 3
"""Complaints told of one operation; the rest is counted."""


@dataclass(frozen=True)
class Judgement:
    """Calls and good answers by operation, and what was wrong."""

    calls: dict[str, int]
    good: dict[str, int]
    violations: list[dict[str, Any]]
    known: int
    refusals: dict[str, int] = field(default_factory=dict)
    """Answers that were errors, by operation and status with a space between them."""

    def wrong(self, name: str) -> list[str]:
        """What is wrong with an operation, most frequent first."""
        found = Counter(_complaint(one) for one in self.violations if one["operation"] == name)
        told = [text for text, _ in found.most_common(SHOWN)]
        return told + ([f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else [])


_KINDS = {
    "answer": "answer",
    "accepted": "lets pass what Nova refuses",
    "refused": "refuses what Nova lets pass",
    "status": "status",
    "window": "window",
    "unknown": "unknown",
}


def _complaint(violation: dict[str, Any]) -> str:
    text = _QUOTED.sub(r"\1…\1", violation["text"])[:160]
    return f"{_KINDS[violation['kind']]}: {text}"


def judge(*recordings: Path) -> Judgement:
    """Ask the oracle. Raises ``CalledProcessError`` if it falls over."""
    document = ask("judge", "--json", *(str(one) for one in recordings), accepted=(0, 1))
    return Judgement(**document)


def ask(*arguments: str, accepted: tuple[int, ...] = (0,)) -> Any:
    """What the oracle answers to a command line, as a document."""
    command = [str(judges() / "bin" / "python"), "-W", "ignore", "-m", "tests.conformance.oracle", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in accepted:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return json.loads(done.stdout)
