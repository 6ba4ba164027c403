"""What hosts offer: cores, memory and disk as ``hosts`` has them, dedicated processors as its topology does; the rest as
operators wrote it in ``host_inventories``."""

from collections.abc import Collection, Mapping
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import host_inventories, hosts
from kilonova.database.types import LongText
from kilonova.model.errors import Conflict
from kilonova.model.inventory import AGGREGATE_RATIO, DEDICATED, HOST_CLASSES, Inventory, capacity, in_force, total
from kilonova.model.topology.given import taken_in
from kilonova.model.topology.machine import dedicated_in

IN_USE = "placement.inventory.inuse"
_i, _h = host_inventories.c, hosts.c
_COLUMNS = [host_inventories.c[field] for field in Inventory.__struct_fields__]
_PARTS = ("", "_reserved", "_ratio", "_capacity", "_used")
DEDICATED_COLUMNS = [
    sa.type_coerce(_h.topology, LongText).label("topology_text"),
    sa.type_coerce(_h.topology_used, LongText).label("topology_used_text"),
]
OWN_COLUMNS = [
    *DEDICATED_COLUMNS,
    _h.inventory_terms,
    *(hosts.c[f"{column}{part}"] for column in HOST_CLASSES.values() for part in _PARTS),
]


def own(row: sa.Row[Any]) -> dict[str, Inventory]:
    """Of a row with ``OWN_COLUMNS``: what the host has by itself. A claim may be as large as what can be claimed in all."""
    values = cast("Mapping[str, Any]", row._mapping)
    found = {}
    for name, column in HOST_CLASSES.items():
        there = total(column, values)
        if there <= 0:
            continue
        reserved, ratio = in_force(column, values, row.inventory_terms.get(name, {}))
        most = values[f"{column}_capacity"]
        found[name] = Inventory(
            total=there,
            reserved=min(reserved, there),
            max_unit=max(most, 1),
            allocation_ratio=ratio,
            capacity=most,
            used=values[f"{column}_used"],
        )
    if (own_processors := dedicated(row)) is not None:
        found[DEDICATED] = own_processors
    return found


def dedicated(row: sa.Row[Any]) -> Inventory | None:
    """Of a row with ``DEDICATED_COLUMNS``: the processors that are given to one server each; None if there are none."""
    there = dedicated_in(row.topology_text)
    if not there:
        return None
    return Inventory(total=there, max_unit=there, capacity=there, used=taken_in(row.topology_used_text))


def added(connection: Connection, names: Collection[str]) -> dict[str, dict[str, Inventory]]:
    """What operators added to the hosts of those names, by host and class."""
    found: dict[str, dict[str, Inventory]] = {}
    query = sa.select(_i.host, _i.resource_class, *_COLUMNS).where(_i.host.in_(list(names)))
    for row in connection.execute(query.order_by(_i.host, _i.resource_class)):
        values = {field: row._mapping[field] for field in Inventory.__struct_fields__}
        found.setdefault(row.host, {})[row.resource_class] = Inventory(**values)
    return found


def put(connection: Connection, host: str, name: str, inventory: Inventory, now: int) -> None:
    """Write one that an operator adds or changes; what is claimed of it stays. Raises ``Conflict`` if that would not fit."""
    where = (_i.host == host, _i.resource_class == name)
    values = {**msgspec.structs.asdict(inventory), "updated_at": now}
    values.pop("used")
    used = connection.execute(sa.select(_i.used).where(*where).with_for_update()).scalar()
    if used is None:
        row = {"host": host, "resource_class": name, "used": 0, "created_at": now}
        connection.execute(host_inventories.insert(), {**row, **values})
        return
    _check_room(name, inventory.capacity, int(used))
    connection.execute(host_inventories.update().where(*where).values(**values))


def remove(connection: Connection, host: str, name: str) -> None:
    """Take away what an operator added. Raises ``Conflict`` while some of it is claimed."""
    where = (_i.host == host, _i.resource_class == name)
    if connection.execute(host_inventories.delete().where(*where, _i.used == 0)).rowcount == 0:
        raise Conflict(f"Inventory for '{name}' on resource provider {host} in use.", name=IN_USE)


def set_terms(connection: Connection, host: str, name: str, wanted: Mapping[str, float]) -> None:
    """Let an operator's ``reserved`` and ``allocation_ratio`` of a host's own class count; what is not in it is as the host says.

    Raises ``Conflict`` if less could then be claimed than is.
    """
    row = connection.execute(sa.select(*OWN_COLUMNS).where(_h.host == host).with_for_update()).one()
    column = HOST_CLASSES[name]
    values = row._asdict()
    of_aggregates = {k: v for k, v in row.inventory_terms.get(name, {}).items() if k == AGGREGATE_RATIO}
    said = dict(zip(("reserved", "allocation_ratio"), in_force(column, values, of_aggregates), strict=True))
    terms = of_aggregates | {field: value for field, value in wanted.items() if value != said[field]}
    reserved, ratio = in_force(column, values, terms)
    most = capacity(total(column, values), reserved, ratio)
    _check_room(name, most, values[f"{column}_used"])
    changed = {**row.inventory_terms, name: terms}
    connection.execute(
        hosts.update()
        .where(_h.host == host)
        .values({"inventory_terms": {n: t for n, t in changed.items() if t}, f"{column}_capacity": most})
    )


def _check_room(name: str, most: int, used: int) -> None:
    if most < used:
        raise Conflict(
            f"{used} of {name} are claimed, and only {most} could be then; move servers away first.", name=IN_USE
        )


def forget_host(connection: Connection, host: str) -> None:
    """A host is gone for good, and with it what was added to it."""
    connection.execute(host_inventories.delete().where(_i.host == host))
