"""A look at the hosts, changed: some gone, some closed, some that are not there yet. Pure: a reading in, another one out."""

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

from kilonova.database.host_columns import Reading, Unfit
from kilonova.model.aggregate import Aggregate
from kilonova.model.errors import Invalid
from kilonova.model.inventory import Inventory
from kilonova.model.what_if import NewHosts

R = TypeVar("R")


def without(reading: Reading, hosts: Collection[str]) -> Reading:
    """As if those hosts were not there. Raises ``Invalid`` for one that is not."""
    gone = _numbers(reading, hosts)
    return msgspec.structs.replace(
        reading,
        usage=[row for row in reading.usage if row[0] not in gone],
        facts=[fact for fact in reading.facts if fact.id not in gone],
        unfit=[one for one in reading.unfit if one.id not in gone],
    )


def closed(reading: Reading, hosts: Collection[str]) -> Reading:
    """As if an operator had disabled those hosts. Raises ``Invalid`` for one that is not there."""
    shut = _numbers(reading, hosts)
    up = dict.fromkeys(shut, True) | {one.id: one.up for one in reading.unfit if one.id in shut}
    others = [one for one in reading.unfit if one.id not in shut]
    return msgspec.structs.replace(reading, unfit=[*others, *(Unfit(number, up[number], False) for number in up)])


def with_more(reading: Reading, new: NewHosts) -> tuple[Reading, list[str]]:
    """With hosts that are not there, and their names. Raises ``Invalid`` if there is no host that they could be like."""
    if not reading.facts:
        raise Invalid("There is no host yet that new ones could be like.")
    template = reading.facts[0]
    if new.like is not None:
        [number] = _numbers(reading, [new.like])
        template = next(fact for fact in reading.facts if fact.id == number)
    sizes = {"vcpus_capacity": new.vcpus, "memory_mb_capacity": new.memory_mb, "disk_gb_capacity": new.disk_gb}
    changed = {name: size for name, size in sizes.items() if size is not None}
    last = max(row[0] for row in reading.usage)
    names = [f"{template.host}+{number}" for number in range(1, new.count + 1)]
    facts = [
        SimpleNamespace(**{**_values(template), **changed, "id": last + number, "host": name})
        for number, name in enumerate(names, 1)
    ]
    unused = [0] * (len(reading.usage[0]) - 1)
    return (
        msgspec.structs.replace(
            reading,
            usage=[*reading.usage, *([fact.id, *unused] for fact in facts)],
            facts=[*reading.facts, *facts],
            aggregates=[_joined(aggregate, template.host, names) for aggregate in reading.aggregates or []],
            traits=_like(reading.traits, template.host, names),
            custom=_like(reading.custom, template.host, names, _unused),
        ),
        names,
    )


def _like(
    known: Mapping[str, R], like: str, names: list[str], change: Callable[[R], R] = lambda value: value
) -> Mapping[str, R]:
    """What is known of one host is known of the new ones as well."""
    return {**known, **dict.fromkeys(names, change(known[like]))} if like in known else known


def _unused(there: Mapping[str, Inventory]) -> Mapping[str, Inventory]:
    return {name: msgspec.structs.replace(inventory, used=0) for name, inventory in there.items()}


def _joined(aggregate: Aggregate, like: str, names: list[str]) -> Aggregate:
    if like not in aggregate.hosts:
        return aggregate
    return msgspec.structs.replace(aggregate, hosts=[*aggregate.hosts, *names])


def _values(fact: Any) -> Mapping[str, Any]:
    return vars(fact) if isinstance(fact, SimpleNamespace) else fact._mapping


def _numbers(reading: Reading, hosts: Collection[str]) -> set[int]:
    known = {fact.host: fact.id for fact in reading.facts}
    missing = [host for host in hosts if host not in known]
    if missing:
        raise Invalid(f"Compute host {missing[0]} could not be found.")
    return {known[host] for host in hosts}
