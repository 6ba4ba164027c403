"""One rule has one default: two rows that share a rule's name must not ask for different roles."""

import pytest

from kilonova import identity, image, network, placement
from kilonova.web.routes import Route


@pytest.mark.parametrize(
    "routes",
    [identity.routes(), image.routes(), network.routes(), placement.routes()],
    ids=["identity", "image", "network", "placement"],
)
def test_a_rule_has_one_default_role(routes: list[Route]) -> None:
    roles: dict[str, str] = {}
    for route in routes:
        assert roles.setdefault(route.rule, route.role) == route.role, route.rule
        assert route.summary
