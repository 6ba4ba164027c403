"""The smallest useful chaos in the suite; all of it is ``make chaos``."""

import argparse
import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.__main__ import run

pytestmark = [pytest.mark.distributed, pytest.mark.slow]


@pytest.fixture
def logs() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="kn-chaos-logs-"))
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("database", ["mariadb", "postgresql"])
def test_nothing_is_left_half_done_when_everything_is_killed_at_once(database: str, logs: Path) -> None:
    options = argparse.Namespace(
        scenario=["everything at once"],
        database=database,
        hosts=10,
        creates=60,
        clients=8,
        logs=logs,
        guests=False,
    )
    [result] = asyncio.run(run(options))
    # How fast is asserted by `make chaos` alone: here other tests may share the machine.
    assert [what for what in result.verdict.violations if not what.startswith("settled after")] == []
