"""The shape of the code: how long files are, what they are called, what stays out of ``__init__.py``."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 600
NAMELESS = {"utils", "util", "common", "helpers", "helper", "base", "misc"}
MARK = re.compile(r"\b(?:TODO|FIXME|XXX)\b(?!\s*\(#\d+\))")


def tracked_python_files() -> list[Path]:
    """Python files of the repository; without git (a source archive) all there are."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0 and done.stdout:
        found = [ROOT / line for line in done.stdout.splitlines()]
    else:
        found = [path for top in ("src", "tests", "bench", "guest") for path in (ROOT / top).rglob("*.py")]
    return sorted(path for path in found if path.exists())


FILES = tracked_python_files()
SOURCES = [path for path in FILES if path.is_relative_to(ROOT / "src")]


def test_no_file_is_longer_than_a_reader_can_bear() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in FILES}
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_no_module_has_a_name_that_says_nothing() -> None:
    parts = {path: set(path.relative_to(ROOT).with_suffix("").parts) for path in FILES}
    assert [str(path.relative_to(ROOT)) for path, names in parts.items() if names & NAMELESS] == []


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=str)
def test_package_files_only_name_what_they_offer(path: Path) -> None:
    allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.Expr)
    for node in ast.parse(path.read_text()).body:
        assert isinstance(node, allowed), f"{path}:{node.lineno}: only imports and __all__ belong here"
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            assert names in (["__all__"], ["__version__"]), f"{path}:{node.lineno}: an assignment"
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"{path}:{node.lineno}: an expression"


def test_a_note_of_work_to_come_names_its_issue() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MARK.search(line)
    ]
    assert wrong == []
