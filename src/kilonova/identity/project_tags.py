"""Tags of projects. Reference: Identity API v3, "Project Tags"."""

from collections.abc import Callable

from sqlalchemy.engine import Connection

from kilonova.database import identity as queries
from kilonova.identity import schemas
from kilonova.identity.directory import missing
from kilonova.identity.service import Identity
from kilonova.model.errors import Invalid, NotFound
from kilonova.model.identity import Project
from kilonova.web.call import Call, Reply
from kilonova.web.schema import always, validate

_MOST = 80
_TAG = always(schemas.TAG)


def _edit(connection: Connection, project_id: str, change: Callable[[list[str]], list[str]]) -> list[str]:
    """Read, change, write; nobody in between. Raises ``NotFound``, or ``Invalid`` for too many."""
    project = queries.get(connection, Project, project_id, lock=True)
    if project is None:
        raise missing(Project, project_id)
    tags = sorted(set(change(project.tags)))
    if len(tags) > _MOST:
        raise Invalid(f"A project has at most {_MOST} tags.")
    queries.update(connection, Project, project_id, {"tags": tags})
    return tags


async def _read(identity: Identity, call: Call) -> list[str]:
    if call.params["project_id"] != call.caller.project_id:
        call.require("identity:get_any_project")
    project = await identity.database.run(queries.get, Project, call.params["project_id"])
    if project is None:
        raise missing(Project, call.params["project_id"])
    return project.tags


def _absent(tag: str) -> NotFound:
    return NotFound(f"Could not find project tag: {tag[:255]}.")


async def list_project_tags(identity: Identity, call: Call) -> Reply:
    """``GET /v3/projects/{id}/tags``"""
    links = {"self": f"{call.base_url}/v3/projects/{call.params['project_id']}/tags", "next": None, "previous": None}
    return Reply(200, {"tags": await _read(identity, call), "links": links})


async def check_project_tag(identity: Identity, call: Call) -> Reply:
    """``GET`` and ``HEAD /v3/projects/{id}/tags/{tag}``"""
    if call.params["tag"] not in await _read(identity, call):
        raise _absent(call.params["tag"])
    return Reply(204)


async def update_project_tags(identity: Identity, call: Call) -> Reply:
    """``PUT /v3/projects/{id}/tags``"""
    wanted: list[str] = call.body["tags"]
    tags = await identity.database.run(_edit, call.params["project_id"], lambda _: wanted)
    return Reply(200, {"tags": tags, "links": {"self": None, "next": None, "previous": None}})


async def create_project_tag(identity: Identity, call: Call) -> Reply:
    """``PUT /v3/projects/{id}/tags/{tag}``"""
    tag = call.params["tag"]
    validate(_TAG, tag, 0, "tag")
    await identity.database.run(_edit, call.params["project_id"], lambda tags: [*tags, tag])
    return Reply(201)


async def delete_project_tag(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/projects/{id}/tags/{tag}``"""

    def without(tags: list[str]) -> list[str]:
        if call.params["tag"] not in tags:
            raise _absent(call.params["tag"])
        return [tag for tag in tags if tag != call.params["tag"]]

    await identity.database.run(_edit, call.params["project_id"], without)
    return Reply(204)


async def delete_project_tags(identity: Identity, call: Call) -> Reply:
    """``DELETE /v3/projects/{id}/tags``"""
    await identity.database.run(_edit, call.params["project_id"], lambda _: [])
    return Reply(204)
