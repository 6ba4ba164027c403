"""``POST /kilonova/v1/what-if``: how many servers would fit, where, and what stops the next one; nothing is done."""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from sqlalchemy.engine import Connection

from kilonova.api.compute import boot
from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import HOSTNAME, PRINTABLE_NAME, document
from kilonova.database import flavors
from kilonova.model.errors import Invalid
from kilonova.model.flavor import Flavor
from kilonova.model.placement import users_hints
from kilonova.model.what_if import NewHosts, Question
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route
from kilonova.web.schema import Schema, always

_MOST = 10_000  # servers, and new hosts, of one question


class Planner(Protocol):
    """Who answers: it has the scheduler's rules."""

    async def answer(self, question: Question) -> dict[str, Any]:
        """What would be. Raises ``Invalid`` for hosts that are not there."""
        ...


def routes(planner: Callable[[], Planner]) -> list[Route]:
    """The operation; the planner is made when it is asked for the first time."""
    made: list[Planner] = []

    async def ask(cloud: Deployment, call: Call) -> Reply:
        question = await _read(cloud, call)
        if not made:
            made.append(planner())
        return Reply(200, {"what_if": await made[0].answer(question)})

    return [
        Route(
            method="POST",
            path="/v1/what-if",
            handler=ask,
            rule="kilonova:what_if",
            role="admin",
            body=always(_BODY),
            summary="How many servers would fit, or whether hosts can be drained",
        )
    ]


async def _read(cloud: Deployment, call: Call) -> Question:
    body: dict[str, Any] = call.body["what_if"]
    flavor = image = None
    if "flavor" in body:
        flavor = await cloud.database.run(_flavor, body["flavor"])
    if "image" in body:
        image = await boot.find_image(cloud, call, body["image"])
        if flavor is not None:
            boot.check_fit(flavor, image)
    both = set(body.get("drain", [])) & set(body.get("without_hosts", []))
    if both:
        raise Invalid(f"Host {min(both)} cannot be drained if it is not there.")
    return Question(
        project_id=body.get("project_id", call.project_id),
        user_id=call.caller.user_id,
        flavor=None if flavor is None else msgspec.to_builtins(flavor),
        image=None if image is None else boot.image_record(image),
        image_id=None if image is None else image.id,
        count=body.get("count", 1),
        availability_zone=body.get("availability_zone"),
        hints=users_hints(body.get("hints", {})),
        new_hosts=msgspec.convert(body["add_hosts"], NewHosts) if "add_hosts" in body else None,
        without_hosts=body.get("without_hosts", []),
        drain=body.get("drain", []),
    )


def _flavor(connection: Connection, wanted: str) -> Flavor:
    found = flavors.find_flavor(connection, wanted, None, True) or flavors.find_named(connection, wanted)
    if found is None:
        raise Invalid(f"Flavor {wanted[:64]} could not be found.")
    return found


def _amount(lowest: int, most: int) -> Schema:
    return {"type": "integer", "minimum": lowest, "maximum": most}


def _hosts(most: int) -> Schema:
    return {"type": "array", "items": HOSTNAME, "maxItems": most, "uniqueItems": True}


_WORD: Schema = {"type": "string", "maxLength": 1024, "pattern": r"^[^\x00]*$"}
_HINTS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": r"^[^\x00-\x1f\x7f]{1,255}$"},
    "additionalProperties": {"anyOf": [_WORD, {"type": "array", "items": _WORD, "maxItems": 100}]},
    "maxProperties": 20,
}
_SIZE = 2**31 - 1
_NEW_HOSTS = document(
    ["count"],
    {
        "count": _amount(1, _MOST),
        "like": HOSTNAME,
        "vcpus": _amount(0, _SIZE),
        "memory_mb": _amount(0, _SIZE),
        "disk_gb": _amount(0, _SIZE),
    },
)
_QUESTION = document(
    [],
    {
        "flavor": PRINTABLE_NAME,
        "count": _amount(1, _MOST),
        "image": {"type": "string", "format": "uuid"},
        "availability_zone": PRINTABLE_NAME,
        "hints": _HINTS,
        "project_id": {"type": "string", "pattern": "^[a-zA-Z0-9-]{1,64}$"},
        "add_hosts": _NEW_HOSTS,
        "without_hosts": _hosts(1000),
        "drain": {**_hosts(100), "minItems": 1},
    },
) | {"anyOf": [{"required": ["flavor"]}, {"required": ["drain"]}]}
_BODY = document(["what_if"], {"what_if": _QUESTION})
