"""Imports point one way: the house rules of the design, read from the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "kilonova"
MODULES = sorted(SOURCE.rglob("*.py"))

# Which part may import nothing of these. "*" is all of ours but itself.
FORBIDDEN: dict[str, set[str]] = {
    "model": {"*"},
    "messaging": {"*"},
    "web": {"*"},
    "hypervisor": {"*"},
    "compute": {
        "database",
        "api",
        "scheduler",
        "conductor",
        "identity",
        "network",
        "image",
        "placement",
        "cli",
        "service",
    },
    "scheduler": {"api", "compute", "conductor", "hypervisor", "cli", "service"},
    "conductor": {"api", "compute", "scheduler", "hypervisor", "cli", "service"},
    "api": {"compute", "conductor", "scheduler", "hypervisor", "cli", "service"},
    "database": {"api", "compute", "scheduler", "conductor", "hypervisor", "cli", "service"},
    "telemetry": {"api", "compute", "scheduler", "conductor", "hypervisor", "database", "cli", "service"},
    "backing": {"*"},
    "identity": {"api", "compute", "scheduler", "conductor", "hypervisor", "cli", "service"},
    "image": {"api", "compute", "scheduler", "conductor", "hypervisor", "cli", "service"},
    "network": {"api", "compute", "scheduler", "conductor", "hypervisor", "cli", "service"},
    "placement": {"api", "compute", "scheduler", "conductor", "hypervisor", "cli", "service"},
}
ALWAYS_ALLOWED = {
    "messaging": {"model"},
    "web": {"model"},
    "hypervisor": {"model"},
    "backing": {"model"},
}


def part_of(module: Path) -> str:
    """The folder below ``kilonova``, or the file's own name at the top."""
    relative = module.relative_to(SOURCE)
    return relative.parts[0].removesuffix(".py")


def imported_parts(module: Path) -> Iterator[tuple[str, int]]:
    """Our parts that a file imports, wherever in it, with the line."""
    for node in ast.walk(ast.parse(module.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module == "kilonova":
            names = [f"kilonova.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("kilonova."):
                yield name.split(".")[1], node.lineno


@pytest.mark.parametrize("part", sorted(FORBIDDEN))
def test_a_part_imports_only_what_stands_below_it(part: str) -> None:
    allowed = ALWAYS_ALLOWED.get(part, set()) | {part}
    wrong = []
    for module in MODULES:
        if part_of(module) != part:
            continue
        for name, line in imported_parts(module):
            forbidden = name in FORBIDDEN[part] or ("*" in FORBIDDEN[part] and name not in allowed)
            if forbidden and name not in allowed:
                wrong.append(f"{module.relative_to(SOURCE)}:{line} imports kilonova.{name}")
    assert wrong == []


def test_nothing_that_is_shipped_to_run_knows_the_simulation() -> None:
    wrong = [
        f"{module.relative_to(SOURCE)}:{line}"
        for module in MODULES
        if part_of(module) not in {"simulation", "cli"}
        for name, line in imported_parts(module)
        if name == "simulation"
    ]
    assert wrong == []


def test_only_the_top_wires_sub_services_together() -> None:
    """A part that imports two sub-services is wiring; that is for the files at the top, cli and simulation."""
    services = {"api", "scheduler", "conductor", "compute"}
    wiring = {"service", "hypervisors", "neighbours", "cli", "simulation"}
    wrong = [
        str(module.relative_to(SOURCE))
        for module in MODULES
        if part_of(module) not in wiring
        and len(({name for name, _ in imported_parts(module)} & services) - {part_of(module)}) > 0
    ]
    assert wrong == []
