"""``kilonova options``: every option there is, its default, and what it is for; read from ``config.py`` itself."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from kilonova.config import Config


def rows(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Name, default and description of each option."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from rows(kind, f"{prefix}{name}.")
            continue
        yield (
            f"{prefix}{name}",
            _default(prefix + name, field.get_default(call_default_factory=True)),
            field.description or "",
        )


def _default(name: str, value: Any) -> str:
    if name == "compute.host":
        return "(the machine's name)"
    return "" if value is None else json.dumps(value, default=str)


def show(*, json_output: bool) -> None:
    """Print them."""
    found = list(rows())
    if json_output:
        print(
            json.dumps([{"option": name, "default": default, "for": text} for name, default, text in found], indent=2)
        )
        return
    print(
        "# Set them in a TOML file (--config FILE), as KILONOVA_<SECTION>__<OPTION>, or with --set section.option=value."
    )
    section = ""
    for name, default, text in found:
        above, _, option = name.rpartition(".")
        if above != section:
            section = above
            print(f"\n[{section}]")
        print(f"{option} = {default or '(none)'}" + (f"\n    {text}" if text else ""))
