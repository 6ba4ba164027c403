"""Nova's operations against ours: which work, which differ, which are missing, and why.

An operation works if it is in our route table with Nova's window, a suite or a test of our own got a good answer from it,
and nothing that was recorded of it was wrong.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.judgement import Judgement

WORKS, REFUSED, DIFFERS, UNTRIED, MISSING = "works", "refused", "differs", "untried", "missing"
STATES = {
    WORKS: "same microversions as Nova, good answers recorded, nothing wrong with any of them",
    REFUSED: "recorded with the refusal that Nova gives as well, to everybody or wherever the service behind it is lacking",
    DIFFERS: "something recorded of it was wrong, or its microversions are others",
    UNTRIED: "in place, and right in its shapes, but nobody got a good answer from it",
    MISSING: "not in our route table",
}
_HOST_POWER = "no hypervisor of Nova's can power a host on or off"
_NO_IRONIC = "there is no bare-metal service"
_NEVER = "Nova never passed it on to the bare-metal service"
REFUSALS = {
    "GET /os-hosts/{id}/reboot": (501, _HOST_POWER),
    "GET /os-hosts/{id}/shutdown": (501, _HOST_POWER),
    "GET /os-hosts/{id}/startup": (501, _HOST_POWER),
    "GET /os-baremetal-nodes": (501, _NO_IRONIC),
    "GET /os-baremetal-nodes/{id}": (501, _NO_IRONIC),
    "POST /os-baremetal-nodes": (400, _NEVER),
    "DELETE /os-baremetal-nodes/{id}": (400, _NEVER),
    "POST /os-baremetal-nodes/{id}/action add_interface": (400, _NEVER),
    "POST /os-baremetal-nodes/{id}/action remove_interface": (400, _NEVER),
}
"""Operations that never have a good answer: the refusal to be seen, and why."""
REASONS = (  # why something is missing, by what its name holds; the first that fits
    ("/os-volumes_boot", "the old name of /servers, gone from 2.103"),
    ("/os-volume", "there are no volumes yet"),
    ("/os-snapshots", "there are no volumes yet"),
    ("/os-assisted-volume-snapshots", "there are no volumes yet"),
    ("/shares", "there is no shared file system service"),
    ("/os-baremetal-nodes", "a proxy of a bare-metal service there is none of; gone from 2.36"),
)


@dataclass
class Operation:
    """One live operation of Nova's and what became of it."""

    name: str
    since: int
    until: int
    state: str = MISSING
    reasons: list[str] = field(default_factory=list)

    @property
    def window(self) -> str:
        return f"2.{self.since} to 2.{self.until}" if self.until < NEWEST else f"from 2.{self.since}"


NEWEST = 104


def compare(novas: list[dict[str, Any]], ours: list[dict[str, Any]], judgement: Judgement) -> list[Operation]:
    """Every live operation of Nova's, in the order of its route table."""
    offered = _offered(ours)
    found = []
    for nova in novas:
        if nova["removed"]:
            continue
        operation = Operation(nova["name"], nova["since"], nova["until"])
        _state(operation, offered.get(_key(nova)), judgement)
        found.append(operation)
    return found


def missing(novas: list[dict[str, Any]], ours: list[dict[str, Any]]) -> set[str]:
    """The names of Nova's operations that are not in our route table."""
    there = _offered(ours)
    return {nova["name"] for nova in novas if not nova["removed"] and _key(nova) not in there}


def dead(novas: list[dict[str, Any]], judgement: Judgement) -> tuple[int, int]:
    """How many operations Nova has buried, and how many of them answer here as they do there."""
    buried = [nova["name"] for nova in novas if nova["removed"]]
    right = [name for name in buried if judgement.calls.get(name) and not judgement.wrong(name)]
    return len(buried), len(right)


def _state(operation: Operation, spans: list[tuple[int, int]] | None, judgement: Judgement) -> None:
    if spans is None:
        operation.reasons = [next((why for part, why in REASONS if part in operation.name), "not built yet")]
        return
    since, until = min(span[0] for span in spans), max(span[1] for span in spans)
    if (since, until) != (operation.since, operation.until):
        operation.reasons.append(f"here it is there from 2.{since} to 2.{until}")
    operation.reasons += judgement.wrong(operation.name)
    if operation.reasons:
        operation.state = DIFFERS
    else:
        operation.state = WORKS if judgement.good.get(operation.name) else UNTRIED
    status, why = REFUSALS.get(operation.name, (0, ""))
    if operation.state == UNTRIED and judgement.refusals.get(f"{operation.name} {status}"):
        operation.state, operation.reasons = REFUSED, [f"{status}: {why}"]


def _offered(ours: list[dict[str, Any]]) -> dict[tuple[str, str, str | None], list[tuple[int, int]]]:
    """Our spans of minors, by operation. Version documents stand above the version in our table."""
    found: dict[tuple[str, str, str | None], list[tuple[int, int]]] = {}
    for row in ours:
        span = int(row["since"].split(".")[1]), int(row["until"].split(".")[1])
        found.setdefault(_key(row), []).append(span)
    return found


def _key(row: dict[str, Any]) -> tuple[str, str, str | None]:
    path = row["path"] if row.get("versioned", True) else row["path"].removeprefix("/v2.1")
    return row["method"], re.sub(r"{\w+}", "{}", path or "/"), row["action"]
