"""A server's NUMA topology, since 2.78: its cells, and for administrators where on its host they are."""

from typing import Any

from sqlalchemy.engine import Connection

from kilonova.api.compute.deployment import Deployment
from kilonova.api.compute.inputs import queries
from kilonova.api.compute.rules_servers import HOST_TOPOLOGY
from kilonova.api.compute.submission import find
from kilonova.database import topologies
from kilonova.model.topology.given import GivenTopology
from kilonova.model.topology.request import TopologyRequest, of_flavor
from kilonova.web.call import Call, Reply
from kilonova.web.routes import Route


async def show(cloud: Deployment, call: Call) -> Reply:
    """A server that asked for none has no nodes."""
    asked, given = await cloud.database.run(_of, call)
    nodes = [_node(asked, given, number, hosts=call.allows(HOST_TOPOLOGY)) for number in range(len(asked.cells))]
    return Reply(200, {"nodes": nodes, "pagesize_kb": None if given is None else given.page_kib})


def _of(connection: Connection, call: Call) -> tuple[TopologyRequest, GivenTopology | None]:
    server = find(connection, call, call.params["server_id"])
    asked = of_flavor(server.flavor)
    if asked is None:
        return TopologyRequest(), None
    return asked, topologies.given_to(connection, server.id, server.host, server.id)


def _node(asked: TopologyRequest, given: GivenTopology | None, number: int, *, hosts: bool) -> dict[str, Any]:
    cell = asked.cells[number]
    cpus = sorted([*cell.shared, *cell.dedicated])
    threads = asked.guest_threads
    whole = len(cpus) - len(cpus) % threads
    node: dict[str, Any] = {
        "vcpu_set": cpus,
        "siblings": [cpus[at : at + threads] for at in range(0, whole, threads)] if threads > 1 else [],
        "memory_mb": cell.memory_mb,
    }
    if hosts:
        on_host = None if given is None else given.cells[number]
        node["host_node"] = -1 if on_host is None else on_host.host_cell  # as Nova says of a cell that is nowhere yet
        node["cpu_pinning"] = {str(guest): host for guest, host in (on_host.pins if on_host is not None else ())}
    return node


ROUTES = [
    Route(
        method="GET",
        path="/servers/{server_id}/topology",
        handler=show,
        rule="compute:server:topology:index",
        role="reader",
        since=78,
        query=queries(102),
        summary="Show a server's NUMA topology",
    ),
]
