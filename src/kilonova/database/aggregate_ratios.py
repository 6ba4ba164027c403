"""Allocation ratios that operators set for aggregates: ``cpu_allocation_ratio``, ``ram_…``, ``disk_…`` in their metadata.

They are written into the hosts' capacities when an aggregate or its hosts change, so that a claim stays one comparison. Of
several aggregates the least counts; a ratio that an operator set for the very host goes before it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import aggregate_hosts as members
from kilonova.database.tables import aggregates, hosts
from kilonova.model.errors import Conflict
from kilonova.model.inventory import AGGREGATE_RATIO, HOST_CLASSES, capacity, in_force, total

KEYS = {"cpu_allocation_ratio": "VCPU", "ram_allocation_ratio": "MEMORY_MB", "disk_allocation_ratio": "DISK_GB"}
"""The keys of metadata, and whose ratio they are."""

_h = hosts.c
_HELD = sa.select(hosts).where(_h.host == sa.bindparam("of_host")).with_for_update()
_METADATA = (
    sa.select(aggregates.c.metadata)
    .join(members, members.c.aggregate_id == aggregates.c.id)
    .where(members.c.host == sa.bindparam("of_host"))
)


def spoken_of(metadata: Mapping[str, Any]) -> bool:
    """Whether metadata, or changes of them, concern capacities."""
    return not metadata.keys().isdisjoint(KEYS)


def renew(connection: Connection, names: Iterable[str], now: int) -> None:
    """Bring the capacities of these hosts in line with their aggregates. Raises ``Conflict`` if more is claimed than could be."""
    for name in sorted(names):
        row = connection.execute(_HELD, {"of_host": name}).first()
        if row is not None:
            _renew(connection, row, now)


def _renew(connection: Connection, row: sa.Row[Any], now: int) -> None:
    metadata = connection.execute(_METADATA, {"of_host": row.host}).scalars().all()
    terms: dict[str, dict[str, float]] = {}
    values: dict[str, Any] = {}
    for key, name in KEYS.items():
        terms[name] = {k: value for k, value in row.inventory_terms.get(name, {}).items() if k != AGGREGATE_RATIO}
        said = [ratio for one in metadata if (ratio := _ratio(one.get(key))) is not None]
        if said:
            terms[name][AGGREGATE_RATIO] = min(said)
        column = HOST_CLASSES[name]
        if terms[name] != row.inventory_terms.get(name, {}):
            values[f"{column}_capacity"] = _capacity(row, name, column, terms[name])
    if values:
        values["inventory_terms"] = {name: those for name, those in terms.items() if those}
        values |= {"updated_at": now, "generation": _h.generation + 1}
        connection.execute(hosts.update().where(_h.id == row.id).values(values))


def _capacity(row: sa.Row[Any], name: str, column: str, terms: Mapping[str, float]) -> int:
    values = row._asdict()
    most = max(capacity(total(column, values), *in_force(column, values, terms)), 0)
    used = row._mapping[f"{column}_used"]
    if most < used:
        raise Conflict(
            f"{used} of {name} are claimed on host {row.host}, and only {most} could be then; move servers away first."
        )
    return most


def _ratio(said: str | None) -> float | None:
    """None for what is no ratio."""
    try:
        ratio = float(said) if said is not None else 0.0
    except ValueError:
        return None
    return ratio if math.isfinite(ratio) and ratio > 0 else None
