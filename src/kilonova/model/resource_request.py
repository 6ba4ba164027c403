"""What flavors and images ask of a host in Placement's words: ``resources:CLASS=n`` and ``trait:NAME=required|forbidden``.

A suffix (``resources1:``, ``trait_gpu:``) names a group that one provider is to satisfy; a host is one provider here, so groups
add up.
"""

import re
from collections.abc import Iterator, Mapping

import msgspec

_KEY = re.compile(r"(resources|trait)(?:[A-Za-z0-9_-]{1,64})?:([A-Z0-9_]{1,255})")
_AMOUNT = re.compile(r"[0-9]{1,10}")
_MOST = 2_147_483_647


class TraitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The traits a host must have, and those it must not."""

    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()


def requested_resources(extra_specs: Mapping[str, str]) -> dict[str, int]:
    """The amount asked for of each class; what is no amount is not looked at, as in Nova."""
    asked: dict[str, int] = {}
    for name, value in _of_kind("resources", extra_specs):
        if _AMOUNT.fullmatch(value.strip()):
            asked[name] = asked.get(name, 0) + int(value)
    return {name: min(amount, _MOST) for name, amount in asked.items()}


def requested_traits(extra_specs: Mapping[str, str], properties: Mapping[str, str]) -> TraitRequest:
    """What the flavor and the image together ask for."""
    asked = [*_of_kind("trait", extra_specs), *_of_kind("trait", properties)]
    return TraitRequest(
        required=frozenset(name for name, value in asked if value == "required"),
        forbidden=frozenset(name for name, value in asked if value == "forbidden"),
    )


def _of_kind(kind: str, said: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, value in said.items():
        found = _KEY.fullmatch(key) if key.startswith(kind) else None
        if found is not None and found[1] == kind:
            yield found[2], str(value)
