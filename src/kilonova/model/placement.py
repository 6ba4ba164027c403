"""What a server's owner asks of its neighbours: groups with a policy, and hints that name other servers."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec


class GroupPolicy(StrEnum):
    """How the servers of a group stand to one another. The soft ones are wishes."""

    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"
    SOFT_AFFINITY = "soft-affinity"
    SOFT_ANTI_AFFINITY = "soft-anti-affinity"


HARD = (GroupPolicy.AFFINITY, GroupPolicy.ANTI_AFFINITY)


class ServerGroup(msgspec.Struct, frozen=True, kw_only=True):
    """One row of ``server_groups``."""

    seq: int
    id: str
    project_id: str
    user_id: str
    name: str
    policy: str
    rules: dict[str, int]

    @property
    def most_per_host(self) -> int:
        """How many of its servers one host may have, if the policy keeps them apart."""
        return self.rules.get("max_server_per_host", 1)

    def allows(self, host: str, members: Mapping[str, int]) -> bool:
        """Whether a server may join ``members`` (how many there are, by host) on ``host``. Soft policies allow all."""
        if self.policy == GroupPolicy.ANTI_AFFINITY:
            return members.get(host, 0) < self.most_per_host
        if self.policy == GroupPolicy.AFFINITY:
            return not members or host in members
        return True


class Neighbours(msgspec.Struct, frozen=True, kw_only=True):
    """What one request has to mind: its group and where that is; hosts it wants (None: any), hosts it wants not."""

    group: ServerGroup | None = None
    members: dict[str, int] = {}
    same: frozenset[str] | None = None
    different: frozenset[str] = frozenset()

    def under(self, policy: GroupPolicy) -> bool:
        """Whether the request belongs to a group with that policy."""
        return self.group is not None and self.group.policy == policy


REQUESTED_HOST = "kilonova:host"
"""Kept among a server's hints: the host that an administrator named. Users neither set nor see what begins like this."""


NEIGHBOUR_HINTS = frozenset({"group", "same_host", "different_host"})
"""The hints that are about other servers."""


def users_hints(hints: Mapping[str, Any]) -> dict[str, Any]:
    """The hints without what is only kept among them."""
    return {key: value for key, value in hints.items() if not key.startswith("kilonova:")}


def group_hint(hints: Mapping[str, Any]) -> str | None:
    """The group a create asks for; a list of one is allowed."""
    return next(iter(_words(hints, "group")), None)


def same_host_hint(hints: Mapping[str, Any]) -> list[str]:
    """The servers one of whose hosts is asked for."""
    return _words(hints, "same_host")


def different_host_hint(hints: Mapping[str, Any]) -> list[str]:
    """The servers none of whose hosts is wanted."""
    return _words(hints, "different_host")


def _words(hints: Mapping[str, Any], key: str) -> list[str]:
    value = hints.get(key)
    if isinstance(value, str):
        return [value] if value else []
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
