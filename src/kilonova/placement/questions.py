"""The query strings of Placement: resources, traits and aggregates that are asked for, in groups.

Reference: Placement API, "List resource providers", "List allocation candidates". A form that came with a later microversion is
refused before it.
"""

import re
from collections.abc import Iterable
from uuid import UUID

import msgspec

from kilonova.model.errors import Invalid
from kilonova.model.inventory import MOST
from kilonova.model.provider import Group
from kilonova.placement.microversion import V
from kilonova.web.call import Call
from kilonova.web.schema import is_uuid

BAD, MISSING, TWICE = "placement.query.bad_value", "placement.query.missing_value", "placement.query.duplicate_key"
_KEY = re.compile(r"^(resources|required|member_of|in_tree)([a-zA-Z0-9_-]{1,64})?$")
_MOST_GROUPS, _MOST_TERMS = 64, 200


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What candidates are asked for: groups by suffix, and what holds of all of them together."""

    groups: dict[str, Group]
    root: Group
    isolated: bool
    limit: int | None


def dashed(uuid: str) -> str:
    """A UUID in the form it is stored in. Raises ``Invalid`` for what is none."""
    if not is_uuid(uuid):
        raise Invalid(f"Expected a UUID, got: {uuid[:64]}", name=BAD)
    return str(UUID(uuid))


def group(call: Call, suffix: str = "") -> Group:
    """One group of the query. Raises ``Invalid``."""
    resources, in_tree = call.first(f"resources{suffix}"), call.first(f"in_tree{suffix}")
    required, forbidden = _traits(call, f"required{suffix}")
    member_of, not_member_of = _aggregates(call, f"member_of{suffix}")
    found = Group(
        resources={} if resources is None else _resources(resources),
        required=required,
        forbidden=forbidden,
        member_of=member_of,
        not_member_of=not_member_of,
        in_tree=None if in_tree is None else dashed(in_tree),
    )
    _check_size([found])
    return found


def _check_size(groups: Iterable[Group]) -> None:
    if sum(len(one.resources) + len(one.member_of) + len(one.required) for one in groups) > _MOST_TERMS:
        raise Invalid(f"More than {_MOST_TERMS} resource classes, traits and aggregates are asked for.", name=BAD)


def wanted(call: Call) -> Wanted:
    """All that ``GET /allocation_candidates`` asks for. Raises ``Invalid``."""
    suffixes = {match[2] or "": None for match in map(_KEY.match, call.query) if match is not None}
    if len(suffixes) > _MOST_GROUPS:
        raise Invalid(f"More than {_MOST_GROUPS} groups are asked for at once.", name=BAD)
    groups = {suffix: group(call, suffix) for suffix in suffixes}
    root = _root(call)
    _check_size([*groups.values(), root])
    _check_resources(call, groups)
    _check_conflicts(groups)
    policy, limit = _first(call, "group_policy"), _first(call, "limit")
    granular = sum(1 for suffix in groups if suffix)
    if policy is None and granular > 1:
        raise Invalid('"group_policy" is needed with more than one group that has a suffix.', name=MISSING)
    return Wanted(
        groups=groups,
        root=root,
        isolated=policy == "isolate" and granular > 1,
        limit=None if limit is None else min(int(limit[:10]), MOST),
    )


def _first(call: Call, key: str) -> str | None:
    return next(iter(call.query.get(key, [])), None)


def _check_resources(call: Call, groups: dict[str, Group]) -> None:
    """Every group names resources; since 1.36 those named in ``same_subtree`` need not."""
    subtrees = {part.strip() for value in call.query.get("same_subtree", []) for part in value.split(",")}
    if "" in subtrees:
        raise Invalid("same_subtree cannot name the group that has no suffix.", name=BAD)
    if subtrees - groups.keys():
        raise Invalid(f"same_subtree names groups that are not there: {_names(subtrees - groups.keys())}", name=BAD)
    if not any(one.resources for one in groups.values()):
        raise Invalid("At least one group must ask for resources.", name=MISSING)
    empty = {suffix for suffix, one in groups.items() if not one.resources and suffix not in subtrees}
    if empty:
        keys = {f"resources{suffix}" for suffix in empty}
        raise Invalid(f"Groups that ask for no resources; missing are: {_names(keys)}", name=BAD)


def _check_conflicts(groups: dict[str, Group]) -> None:
    for suffix, one in groups.items():
        if any(some <= one.forbidden for some in one.required):
            raise Invalid(f"The same traits are required and forbidden in required{suffix}.", name=BAD)


def _root(call: Call) -> Group:
    """``root_required``: of the host itself, whatever the groups say."""
    values = call.query.get("root_required", [])
    if len(values) > 1:
        raise Invalid("root_required may be given only once.", name=TWICE)
    if any(value.startswith("in:") for value in values):
        raise Invalid("root_required cannot be a choice of traits (in:).", name=BAD)
    required, forbidden = _traits(call, "root_required")
    root = Group(required=required, forbidden=forbidden)
    _check_conflicts({"": root})
    return root


def _names(names: set[str]) -> str:
    return ", ".join(sorted(name[:64] for name in names)[:10])


def _resources(text: str) -> dict[str, int]:
    found = {}
    for piece in text.split(","):
        name, colon, amount = piece.partition(":")
        if not (name and colon and amount.isascii() and amount.isdigit()) or not amount.strip("0"):
            raise Invalid(f"Badly formed resources, expected as VCPU:2,MEMORY_MB:1024. Got: {piece[:64]}", name=BAD)
        found[name] = int(amount) if len(amount) < len(str(MOST)) else MOST
    return found


def _traits(call: Call, key: str) -> tuple[list[frozenset[str]], frozenset[str]]:
    """(one of each, none of these): ``A,!B`` since 1.22, ``in:A,B`` and several such parameters since 1.39."""
    values = call.query.get(key, [])
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values if call.version >= V(39) else values[-1:]:
        choice = value.startswith("in:")
        names = [name.strip() for name in value.removeprefix("in:").split(",")]
        barred = {name.lstrip("!") for name in names if name.startswith("!")}
        if not all(names) or "" in barred:
            raise Invalid(f"An empty trait in {key}: {value[:64]}", name=BAD)
        if (choice and (barred or call.version < V(39))) or (barred and call.version < V(22)):
            raise Invalid(f"Not a form of {key} in this microversion: {value[:64]}", name=BAD)
        positive = [name for name in names if not name.startswith("!")]
        required += [frozenset(positive)] if choice else [frozenset({name}) for name in positive]
        forbidden |= barred
    return required, frozenset(forbidden)


def _aggregates(call: Call, key: str) -> tuple[list[frozenset[str]], frozenset[str]]:
    """(one of each, none of these): several since 1.24, ``!`` and ``!in:`` since 1.32."""
    values = call.query.get(key, [])
    if len(values) > 1 and call.version < V(24):
        raise Invalid(f"Several {key} are not supported in this microversion.", name=BAD)
    required: list[frozenset[str]] = []
    forbidden: set[str] = set()
    for value in values:
        text = value.removeprefix("!")
        if "," in text and not text.startswith("in:"):
            raise Invalid(f"Several aggregates in {key} need the prefix in: or !in:. Got: {value[:64]}", name=BAD)
        uuids = frozenset(dashed(uuid) for uuid in text.removeprefix("in:").split(","))
        if not value.startswith("!"):
            required.append(uuids)
        elif call.version < V(32):
            raise Invalid(f"Not a form of {key} in this microversion: {value[:64]}", name=BAD)
        else:
            forbidden |= uuids
    return required, frozenset(forbidden)
