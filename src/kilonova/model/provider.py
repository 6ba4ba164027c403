"""A compute host as Placement shows it, and what is asked of one."""

from collections.abc import Mapping

import msgspec

from kilonova.model.inventory import Inventory


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """A resource provider. ``generation`` counts what changes of it; ``updated_at`` in microseconds."""

    uuid: str
    host: str
    generation: int
    updated_at: int
    inventories: dict[str, Inventory]
    traits: frozenset[str] = frozenset()


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """What one provider is to give, have and belong to.

    ``required``: one of each set; ``member_of`` likewise, UUIDs of aggregates; ``in_tree``: the provider's own UUID, as none
    here has another above it.
    """

    resources: dict[str, int] = {}
    required: list[frozenset[str]] = []
    forbidden: frozenset[str] = frozenset()
    member_of: list[frozenset[str]] = []
    not_member_of: frozenset[str] = frozenset()
    in_tree: str | None = None

    def suits(self, traits: frozenset[str]) -> bool:
        """Whether a provider with these traits will do."""
        return not self.forbidden & traits and all(some & traits for some in self.required)

    @property
    def names_traits(self) -> bool:
        """Whether it matters what traits a provider has."""
        return bool(self.required or self.forbidden)


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A server and what it has claimed, by the UUID of the provider: two of them while it moves."""

    id: str
    project_id: str
    user_id: str
    claimed_at: int
    claims: Mapping[str, Mapping[str, int]]
