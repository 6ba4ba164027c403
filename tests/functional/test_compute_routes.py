"""The rows of the route table themselves: each protected, described, and alone in its place and time."""

from itertools import combinations

from kilonova.api.compute.rules import RULES
from tests.functional.compute_api import all_routes

ROLES = {"none", "any", "reader", "member", "manager", "admin", "service"}


def test_every_operation_has_a_rule_a_role_and_a_sentence() -> None:
    for route in all_routes():
        assert route.rule.startswith(("os_compute_api:", "compute:")), route.path
        assert route.role in ROLES, route.path
        assert route.summary, route.path
    assert set(RULES.values()) <= ROLES


def test_one_rule_has_one_role() -> None:
    roles: dict[str, str] = dict(RULES)
    for route in all_routes():
        assert roles.setdefault(route.rule, route.role) == route.role, route.rule


def test_no_two_rows_answer_the_same_call() -> None:
    for one, other in combinations(all_routes(), 2):
        if (one.method, one.path, one.action) == (other.method, other.path, other.action):
            assert not any(one.lives_at(v) and other.lives_at(v) for v in range(1, 105)), one.path


def test_only_version_documents_are_open() -> None:
    assert {r.path for r in all_routes() if r.role == "none"} == {"/", "/v2", "/v2.1", "/v2.1/versions/{id}"}
