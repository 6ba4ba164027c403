"""Changes of a request: the same server with another flavor, or without one of its wishes.

Each is a request like any other, so whether it would help is asked of the very rules that refused the first one.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from kilonova.database.outgoing import need_of
from kilonova.messaging.contract import Need, ScheduleServer
from kilonova.model.flavor import Flavor
from kilonova.model.placement import Neighbours, users_hints

NOTHING = Need(vcpus=0, memory_mb=0, disk_gb=0)
_NAMED = 3  # image properties and extra specs in one sentence


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A request that was changed in one thing: what kind of thing, which one, and how one would say it.

    ``said`` completes "It would fit …"; it holds nothing that the server's owner may not know.
    """

    kind: str
    name: str
    said: str
    request: ScheduleServer
    neighbours: Neighbours


def wishes(request: ScheduleServer, neighbours: Neighbours) -> list[Change]:
    """The request without its zone, without its host, without each of its hints."""
    found: list[Change] = []
    if request.availability_zone is not None:
        found.append(
            Change(
                kind="zone",
                name=request.availability_zone,
                said=f"outside zone {request.availability_zone}",
                request=msgspec.structs.replace(request, availability_zone=None),
                neighbours=neighbours,
            )
        )
    if request.requested_host is not None:
        found.append(
            Change(
                kind="destination",
                name="",
                said="on another host than the one that was asked for",
                request=msgspec.structs.replace(request, requested_host=None),
                neighbours=neighbours,
            )
        )
    return [*found, *(_without_hint(request, neighbours, key) for key in users_hints(request.hints))]


def _without_hint(request: ScheduleServer, neighbours: Neighbours, key: str) -> Change:
    free: dict[str, dict[str, Any]] = {
        "group": {"group": None, "members": {}},
        "same_host": {"same": None},
        "different_host": {"different": frozenset()},
    }
    said = "outside its server group" if key == "group" else f"without the hint {key}"
    return Change(
        kind="group" if key == "group" else "hint",
        name=key,
        said=said,
        request=msgspec.structs.replace(request, hints=_without(request.hints, [key])),
        neighbours=msgspec.structs.replace(neighbours, **free.get(key, {})),
    )


def demands(request: ScheduleServer) -> list[tuple[str, list[str]]]:
    """What image and flavor demand of hosts, perhaps: ("property" or "extra_spec", their keys), if there are any."""
    found = [("property", list(request.guest.properties)), ("extra_spec", list(request.guest.extra_specs))]
    return [(kind, keys) for kind, keys in found if keys]


def demanding_less(request: ScheduleServer, neighbours: Neighbours, kind: str, keys: Sequence[str]) -> Change:
    """Without some properties of the image, or some extra specs of the flavor."""
    field, whose = ("properties", "an image") if kind == "property" else ("extra_specs", "a flavor")
    values = getattr(request.guest, field)
    named = " and ".join(f"{key}={values[key]}" for key in keys[:_NAMED])
    more = " and others" if len(keys) > _NAMED else ""
    guest = msgspec.structs.replace(request.guest, **{field: _without(values, keys)})
    need = need_of(msgspec.structs.asdict(guest)) if kind == "extra_spec" else request.need
    return Change(
        kind=kind,
        name=keys[0] if len(keys) == 1 else "",
        said=f"with {whose} without {named}{more}",
        request=msgspec.structs.replace(request, guest=guest, need=need),
        neighbours=neighbours,
    )


def all_at_once(request: ScheduleServer, neighbours: Neighbours) -> Change | None:
    """Without any of its wishes; None if it has fewer than two, which were tried by themselves."""
    each = wishes(request, neighbours)
    if len(each) < 2:
        return None
    return Change(
        kind="wishes",
        name="",
        said=" and ".join([", ".join(one.said for one in each[:-1]), each[-1].said]),
        request=msgspec.structs.replace(request, availability_zone=None, requested_host=None, hints={}),
        neighbours=Neighbours(),
    )


def sized(request: ScheduleServer, need: Need) -> ScheduleServer:
    """The same request for a server that takes that much."""
    guest = msgspec.structs.replace(
        request.guest,
        vcpus=need.vcpus,
        memory_mb=need.memory_mb,
        disk_gb=need.disk_gb,
        ephemeral_gb=0,
        swap_mb=0,
    )
    return msgspec.structs.replace(request, need=need, guest=guest)


def flavored(request: ScheduleServer, flavor: Flavor) -> ScheduleServer:
    """The same request with another flavor."""
    guest = msgspec.structs.replace(
        request.guest,
        vcpus=flavor.vcpus,
        memory_mb=flavor.memory_mb,
        disk_gb=flavor.disk_gb,
        ephemeral_gb=flavor.ephemeral_gb,
        swap_mb=flavor.swap_mb,
        extra_specs=flavor.extra_specs,
    )
    return msgspec.structs.replace(
        request, need=need_of(msgspec.to_builtins(flavor)), guest=guest, flavor=flavor.name
    )


def other_flavors(request: ScheduleServer, flavors: Sequence[Flavor]) -> Iterator[tuple[Flavor, Need]]:
    """Those the server could have instead, the one that differs least first."""
    asked = request.need

    def distance(candidate: tuple[Flavor, Need]) -> tuple[float, str]:
        flavor, need = candidate
        changed = sum(
            abs(have - wanted) / max(wanted, 1)
            for have, wanted in (
                (need.vcpus, asked.vcpus),
                (need.memory_mb, asked.memory_mb),
                (need.disk_gb, asked.disk_gb),
            )
        )
        return changed, flavor.name

    candidates = [(flavor, need_of(msgspec.to_builtins(flavor))) for flavor in flavors if not flavor.disabled]
    yield from sorted(
        (
            (flavor, need)
            for flavor, need in candidates
            if _carries(flavor, request) and (need != asked or flavor.extra_specs != request.guest.extra_specs)
        ),
        key=distance,
    )


def _carries(flavor: Flavor, request: ScheduleServer) -> bool:
    """Whether the server's image can be booted with it."""
    enough_disk = flavor.disk_gb == 0 or flavor.disk_gb >= request.least_disk_gb
    return flavor.memory_mb >= request.least_memory_mb and enough_disk


def _without(values: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}
