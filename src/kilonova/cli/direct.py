"""The database of a cloud, read directly: what only the control node can see, and what must be seen when no API answers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.engine import Connection

from kilonova.cli.state import State
from kilonova.config import Config, load_config
from kilonova.model.errors import Misconfigured

T = TypeVar("T")


def configuration_of(state: State, file: Path | None, overrides: list[str]) -> Config:
    """What the cloud runs with: ``file``, else what ``kilonova start`` left in the state directory, else the defaults there."""
    if file is None and state.control_file.exists():
        file = state.control_file
    if file is None:
        overrides = [f"state_dir={state.directory}", *overrides]
    return load_config(file, overrides)


def ask(config: Config, question: Callable[[Connection, int], T]) -> T:
    """Its answer at one moment; ``question`` gets the time in microseconds. Nobody who writes is kept waiting.

    Raises ``Misconfigured`` if there is no cloud, ``Unavailable`` if its database does not answer.
    """
    return asyncio.run(_ask(config, question))


async def _ask(config: Config, question: Callable[[Connection, int], T]) -> T:
    from kilonova.database.connection import DatabaseSettings, open_database
    from kilonova.database.schema import has_tables
    from kilonova.model.clock import SystemClock, system_random

    if config.database.url is None and not (config.state_dir / "kilonova.db").exists():
        raise Misconfigured(
            f"there is no cloud in {config.state_dir}; name its state directory with --state-dir, "
            "or its configuration file with --config"
        )
    clock = SystemClock()
    settings = DatabaseSettings(
        url=config.database_url,
        pool_size=1,
        connect_timeout=config.database.connect_timeout,
        statement_timeout=120.0,  # nobody waits for us, and the tables may be large
        attempts=2,
        snapshot=True,
    )
    database = open_database(settings, clock, system_random())
    try:
        if not await database.run(has_tables):
            raise Misconfigured("the database has no tables of ours; has a cloud ever been started on it?")
        return await database.run(question, clock.now())
    finally:
        await database.close()
