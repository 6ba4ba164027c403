"""What the nouns of Network v2.0 have in common: how one is found, listed, shown, and who may change it.

Reference: Networking API v2.0. A noun that the caller may not see does not exist (404); one that may be seen but belongs to
another project cannot be changed (403).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import networks as queries
from kilonova.model.context import Caller
from kilonova.model.errors import Forbidden, NotFound
from kilonova.model.network import Described
from kilonova.network.listing import paged, question, selected
from kilonova.network.service import EmbeddedNetworks
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Handler

R = TypeVar("R", bound=Described)
View = dict[str, Any]


class Resource(msgspec.Struct, Generic[R], frozen=True, kw_only=True):
    """One noun: ``name`` is the key of its bodies, ``missing`` the type of fault when there is none of that id.

    ``views`` shows records to an administrator or to anybody, reading in the same transaction what hangs on them.
    """

    kind: type[R]
    name: str
    title: str
    missing: str
    views: Callable[[Connection, Sequence[R], bool], list[View]]

    @property
    def plural(self) -> str:
        """As in paths."""
        return self.name.replace("_", "-") + "s"

    def absent(self, record_id: str) -> NotFound:
        """What to raise where there is none of that id."""
        return NotFound(f"{self.title} {record_id[:64]} could not be found.", name=self.missing)

    def view(self, connection: Connection, caller: Caller, record: R) -> View:
        """One record as the caller sees it."""
        return self.views(connection, [record], caller.is_admin)[0]

    def visible(self, connection: Connection, caller: Caller, record_id: str) -> R:
        """The record if the caller may see it. Raises ``NotFound``."""
        if caller.is_admin:
            record = queries.get(connection, self.kind, record_id)
        else:
            asked = queries.Question(filters={"id": [record_id]}, seen_by=caller.project_id or "")
            record = next(iter(queries.find(connection, self.kind, asked)), None)
        if record is None:
            raise self.absent(record_id)
        return record

    def owned(self, connection: Connection, caller: Caller, record_id: str) -> R:
        """The record, locked, for changing it. Raises ``NotFound``, or ``Forbidden`` for one that others only show us."""
        record = self.visible(connection, caller, record_id)
        if not caller.is_admin and record.project_id != caller.project_id:
            raise Forbidden(f"(rule:update_{self.name} or rule:delete_{self.name}) is disallowed by policy")
        locked = queries.get(connection, self.kind, record_id, lock=True)
        if locked is None:
            raise self.absent(record_id)
        return locked


def lists(resource: Resource[R]) -> Handler:
    """``GET`` of the collection."""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        asked = question(call, resource.kind, networks.settings.max_limit)
        views = await networks.database.run(_page, resource, asked, call.caller)
        more = views[asked.limit - 1]["id"] if len(views) > asked.limit else None
        return Reply(200, paged(call, resource.plural, views[: asked.limit], more))

    return handler


def _page(connection: Connection, resource: Resource[R], asked: queries.Question, caller: Caller) -> list[View]:
    """One more than the page holds, so that it is known whether others follow."""
    wider = msgspec.structs.replace(asked, limit=asked.limit + 1)
    return resource.views(connection, queries.find(connection, resource.kind, wider), caller.is_admin)


def shows(resource: Resource[R]) -> Handler:
    """``GET`` of one."""

    async def handler(networks: EmbeddedNetworks, call: Call) -> Reply:
        view = await networks.database.run(_one, resource, call.caller, call.params["id"])
        return Reply(200, {resource.name: selected(call, view)})

    return handler


def _one(connection: Connection, resource: Resource[R], caller: Caller, record_id: str) -> View:
    return resource.view(connection, caller, resource.visible(connection, caller, record_id))


# --- requests ----------------------------------------------------------------------------------------------

_NUMBERS = {"mtu", "ip_version", "provider:segmentation_id"}
_FLAGS = {
    "admin_state_up",
    "shared",
    "router:external",
    "is_default",
    "port_security_enabled",
    "enable_dhcp",
    "stateful",
    "distributed",
    "ha",
}


def written(call: Call, name: str) -> dict[str, Any]:
    """The object in a request's body; numbers and truth values that were written as texts (``openstack`` does) are those."""
    return {key: _plain(key, value) for key, value in call.body[name].items()}


def _plain(key: str, value: Any) -> Any:
    if key in _NUMBERS and isinstance(value, str):
        return int(value)
    if key in _FLAGS and value is not None:
        return str(value).lower() in ("true", "1")
    return value


def owner_of(call: Call, body: Mapping[str, Any]) -> str:
    """Whose the new thing is: the caller's project's, or the one an administrator names."""
    named: str | None = body.get("project_id") or body.get("tenant_id")
    if named is None:
        return call.project_id
    if named != call.caller.project_id and not call.caller.is_admin:
        raise Forbidden(
            "Only administrators may make things for other projects: rule:admin_only is disallowed by policy"
        )
    return named


def only_admins(caller: Caller, resource: str, body: Mapping[str, Any], attributes: Iterable[str]) -> None:
    """Raise ``Forbidden`` if somebody else writes one of these attributes."""
    if caller.is_admin:
        return
    for attribute in attributes:
        if attribute in body:
            raise Forbidden(f"(rule:create_{resource}:{attribute}) is disallowed by policy")
