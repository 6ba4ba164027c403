"""Who may do what: named rules with a least role each, default deny.

The personas are OpenStack's: admin implies manager implies member implies reader; ``service`` stands beside them. A
rule's default is the least role; a file may override it (names as in Nova's ``policy.yaml``). Whose *object* it is,
the queries decide: other projects' objects are not found.
"""

from collections.abc import Mapping

from kilonova.model.context import Caller
from kilonova.model.errors import Forbidden

NOBODY_NEEDED = "none"  # no token at all: version documents
ANY = "any"  # any valid token

IMPLIED: dict[str, tuple[str, ...]] = {
    "admin": ("manager", "member", "reader"),
    "manager": ("member", "reader"),
    "member": ("reader",),
}


def with_implied(roles: frozenset[str] | set[str]) -> frozenset[str]:
    """The roles and all that they imply."""
    return frozenset(roles).union(*(IMPLIED.get(role, ()) for role in roles))


class Policy:
    """The rules in force: defaults overlaid by the operator's."""

    def __init__(self, defaults: Mapping[str, str], overrides: Mapping[str, str] | None = None) -> None:
        self._rules = {**defaults, **(overrides or {})}

    def allows(self, rule: str, caller: Caller) -> bool:
        """True if the caller has the role the rule asks for. A rule nobody wrote denies."""
        role = self._rules.get(rule)
        if role is None:
            return False
        if role == ANY:
            return True
        if role == "service":
            return "service" in caller.roles or "admin" in caller.roles
        return role in caller.roles

    def require(self, rule: str, caller: Caller) -> None:
        """Raise ``Forbidden`` in the words Nova's clients know."""
        if not self.allows(rule, caller):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.")
