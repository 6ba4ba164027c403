"""Rows of ``traits`` and ``host_traits``; the traits of hosts: what operators said, and what follows from capabilities."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from kilonova.database.tables import host_traits, hosts, services, traits
from kilonova.model.errors import Conflict
from kilonova.model.traits import DISABLED, implied

_t, _ht, _h = traits.c, host_traits.c, hosts.c
_DISABLED = sa.and_(services.c.host == _h.host, services.c.binary == "nova-compute", services.c.disabled == sa.true())
_CAPABLE = sa.select(
    _h.host, _h.hypervisor_type, _h.capabilities, sa.select(services.c.id).where(_DISABLED).exists().label("disabled")
)


def traits_of_hosts(connection: Connection, names: Collection[str] | None = None) -> Mapping[str, frozenset[str]]:
    """The traits of each host, or of those named."""
    said: dict[str, list[str]] = {}
    query = sa.select(_ht.host, _ht.trait)
    for row in connection.execute(query if names is None else query.where(_ht.host.in_(list(names)))):
        said.setdefault(row.host, []).append(row.trait)
    alike: dict[tuple[str, str], frozenset[str]] = {}  # most hosts are
    capable = connection.execute(_CAPABLE if names is None else _CAPABLE.where(_h.host.in_(list(names))))
    return {row.host: _own(row, alike).union(said.get(row.host, ())) for row in capable}


def _own(row: sa.Row[Any], alike: dict[tuple[str, str], frozenset[str]]) -> frozenset[str]:
    key = (row.hypervisor_type, str(row.capabilities))
    if key not in alike:
        alike[key] = implied(row.hypervisor_type, row.capabilities)
    return alike[key] | {DISABLED} if row.disabled else alike[key]


def custom(connection: Connection) -> frozenset[str]:
    """The names that operators made."""
    return frozenset(connection.execute(sa.select(_t.name)).scalars())


def make(connection: Connection, name: str, now: int) -> bool:
    """A custom name; False if it is there."""
    try:
        with connection.begin_nested():
            connection.execute(traits.insert(), {"name": name, "created_at": now})
    except sa.exc.IntegrityError:
        return False
    return True


def remove(connection: Connection, name: str) -> bool:
    """Forget a custom name; False if there is none. Raises ``Conflict`` while a host has it."""
    held = connection.execute(sa.select(_t.name).where(_t.name == name).with_for_update()).first()
    if held is None:
        return False
    if connection.execute(sa.select(_ht.host).where(_ht.trait == name).limit(1)).first() is not None:
        raise Conflict(f"The trait {name} is in use by a resource provider.")
    connection.execute(traits.delete().where(_t.name == name))
    return True


def unknown(connection: Connection, names: Iterable[str], standard: Collection[str]) -> list[str]:
    """Those of the names that are neither standard nor made by an operator; the custom ones stay until the transaction ends."""
    asked = sorted({name for name in names if name not in standard})
    query = sa.select(_t.name).where(_t.name.in_(asked)).with_for_update(read=True)
    there = set(connection.execute(query).scalars()) if asked else set()
    return [name for name in asked if name not in there]


def give(connection: Connection, host: str, names: Iterable[str]) -> None:
    """The host has these by its operator's word, and no others."""
    forget_host(connection, host)
    rows = [{"host": host, "trait": name} for name in sorted(names)]
    if rows:
        connection.execute(host_traits.insert(), rows)


def forget_host(connection: Connection, host: str) -> None:
    """What was said of a host is unsaid."""
    connection.execute(host_traits.delete().where(_ht.host == host))
