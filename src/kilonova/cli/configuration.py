"""The resolved configuration as files for the programs we start.

The programs read nothing but these files, so what the user set in the environment or on the command line holds for
all of them, and ``kilonova.toml`` in the state directory says what runs. They may hold passwords: 0600.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kilonova.cli.state import DEFAULT, write_private
from kilonova.config import Config, load_config


def resolve(file: Path | None, overrides: list[str], state_dir: Path | None) -> Config:
    """The configuration of all sources; its state directory is absolute. Raises ``Misconfigured``."""
    config = load_config(file, [*overrides, *([f"state_dir={state_dir}"] if state_dir else [])])
    return config.model_copy(update={"state_dir": (config.state_dir or DEFAULT).absolute()})


def changed(config: Config, **sections: Mapping[str, Any]) -> Config:
    """The same with some options set."""
    updates = {
        name: getattr(config, name).model_copy(update=dict(options)) for name, options in sections.items() if options
    }
    return config.model_copy(update=updates)


def write(config: Config, file: Path, *, without: frozenset[str] = frozenset()) -> None:
    """All that differs from the defaults, as TOML, less the sections in ``without``."""
    values = config.model_dump(mode="json", exclude_defaults=True, exclude=set(without))
    values["compute"] = {"host": config.compute.host, **values.get("compute", {})}
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    lines = ["# Written by `kilonova start`; it is written anew at every start.", *_pairs(plain)]
    for name, section in values.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *_pairs(section)]
    write_private(file, "\n".join(lines) + "\n")


def _pairs(values: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_toml(value)}" for name, value in values.items() if value is not None]


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_toml(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)  # strings, numbers, booleans and lists are written alike in JSON and TOML
