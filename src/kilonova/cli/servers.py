"""Finds the server that a command is about, by name or id, for users as for administrators."""

import re
from typing import Any

from kilonova.cli.client import Cloud, Refused
from kilonova.model.errors import NotFound


def find_server(cloud: Cloud, what: str, sought: str = "server") -> dict[str, Any]:
    """One server of the Compute API. Raises ``NotFound``, also if several have that name; ``sought`` is what it says is none."""
    try:
        found: dict[str, Any] = cloud.get("compute", f"/servers/{what}")["server"]
        return found
    except Refused as refused:
        if refused.status not in (400, 404):
            raise
    named = _named(cloud, what)
    if not named:
        raise NotFound(f"no {sought} is called {what}; `openstack server list --all-projects` shows the servers")
    if len(named) > 1:
        ids = ", ".join(server["id"] for server in named)
        raise NotFound(f"{len(named)} servers are called {what}; name one by its id: {ids}")
    return named[0]


def _named(cloud: Cloud, name: str) -> list[dict[str, Any]]:
    pattern = f"^{re.escape(name)}$"
    try:
        found: list[dict[str, Any]] = cloud.get("compute", "/servers", name=pattern, all_tenants=1)["servers"]
    except Refused as refused:
        if refused.status != 403:  # only administrators see the servers of all projects
            raise
        found = cloud.get("compute", "/servers", name=pattern)["servers"]
    return found
