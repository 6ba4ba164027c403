"""What a run leaves in its directory, so that reports can be made of several: whatever is long can run by itself."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.conformance.judged_cloud import ROOT
from tests.conformance.outcomes import Outcome

_FILE = "results.json"

Suites = list[tuple[str, list[Outcome]]]


@dataclass(frozen=True)
class Kept:
    """The results of runs. ``made_by`` are the command lines and what each judged, ``recordings`` the calls."""

    made_by: list[tuple[str, str]]
    recordings: list[Path]
    suites: Suites = field(default_factory=list)
    shapes: int = 0

    @property
    def sources(self) -> list[str]:
        """The states of the source that were judged, in the order of the runs."""
        return list(dict.fromkeys(source for _, source in self.made_by))


def fingerprint(root: Path = ROOT) -> str:
    """The first letters of a SHA-256 over everything below ``src``, by which it is known again."""
    digest = hashlib.sha256()
    for file in sorted((root / "src").rglob("*.py")):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(root)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:12]


def keep(directory: Path, made_by: str, recordings: Sequence[str], suites: Suites, shapes: int = 0) -> None:
    """Write a run's results; ``recordings`` are files below its directory."""
    document = {
        "made_by": made_by,
        "source": fingerprint(),
        "recordings": list(recordings),
        "suites": [(title, [vars(outcome) for outcome in outcomes]) for title, outcomes in suites],
        "shapes": shapes,
    }
    (directory / _FILE).write_text(json.dumps(document))


def read(directories: Sequence[Path]) -> Kept:
    """The results of several runs as one. Of a test that ran twice the later run counts."""
    made_by, recordings, shapes = [], [], 0
    suites: dict[str, dict[str, Outcome]] = {}
    for directory in directories:
        document = json.loads((directory / _FILE).read_text())
        made_by.append((document["made_by"], document["source"]))
        recordings += [directory / name for name in document["recordings"]]
        shapes += document["shapes"]
        for title, outcomes in document["suites"]:
            suites.setdefault(title, {}).update({outcome["test"]: Outcome(**outcome) for outcome in outcomes})
    merged = [(title, list(outcomes.values())) for title, outcomes in suites.items()]
    return Kept(made_by=made_by, recordings=recordings, suites=merged, shapes=shapes)
