"""Nova's policy defaults as one least role for each rule, found by asking its own enforcer with each role in turn."""

from typing import Any

from nova import policies
from oslo_config import cfg
from oslo_policy import opts
from oslo_policy import policy as oslo_policy

PERSONAS: dict[str, tuple[str, ...]] = {
    "any": (),
    "reader": ("reader",),
    "member": ("reader", "member"),
    "manager": ("reader", "member", "manager"),
    "service": ("service",),
    "admin": ("reader", "member", "manager", "admin"),
}
"""Roles with those they imply, the least first."""


def least_roles() -> dict[str, str]:
    """Rule by rule, about a thing of one's own project. ``nobody``: not even an administrator."""
    conf = cfg.ConfigOpts()
    conf([])
    enforcer = oslo_policy.Enforcer(conf)
    opts.set_defaults(conf)
    conf.set_override("enforce_new_defaults", True, group="oslo_policy")
    rules = list(policies.list_rules())
    enforcer.register_defaults(rules)
    return {rule.name: _least(enforcer, rule.name) for rule in rules if ":" in rule.name}


def _least(enforcer: Any, rule: str) -> str:
    target = {"project_id": "mine", "user_id": "me"}
    for persona, roles in PERSONAS.items():
        about = {"roles": list(roles), "project_id": "mine", "user_id": "me", "is_admin_project": True}
        if enforcer.enforce(rule, target, about):
            return persona
    return "nobody"
