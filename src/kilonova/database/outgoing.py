"""What has to be sent after a transaction: the message for an action's current step, made from its rows."""

from typing import Any

import msgspec
from sqlalchemy.engine import Connection

from kilonova.database import topologies
from kilonova.messaging.contract import (
    CONDUCTOR,
    SCHEDULER,
    Message,
    Need,
    PerformStep,
    ScheduleServer,
    compute_queue,
)
from kilonova.model.action import Action, Performer, host_of_step
from kilonova.model.context import RequestContext
from kilonova.model.guest import GuestSpec, InjectedFile, Nic
from kilonova.model.inventory import REPORTED_CLASSES
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.kinds.create import CREATE, SCHEDULE
from kilonova.model.placement import REQUESTED_HOST
from kilonova.model.resource_request import requested_resources
from kilonova.model.server import Server
from kilonova.model.topology.given import GivenTopology
from kilonova.model.topology.request import of_flavor


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send once the transaction is committed."""

    queue: str
    message: Message
    context: RequestContext


def guest_spec(server: Server, epoch: int = 0, action: Action | None = None) -> GuestSpec:
    """The server as a hypervisor is told of it, or as ``action`` will have it; the image ticket comes when the build begins."""
    work = {} if action is None else action.work
    onward = action is not None and not KINDS[action.kind].undoes(action.step)
    flavor = flavor_after(server, action.input) if action is not None and onward else server.flavor
    return GuestSpec(
        server_id=server.id,
        name=server.name,
        hostname=server.hostname,
        project_id=server.project_id,
        user_id=server.user_id,
        vcpus=flavor["vcpus"],
        memory_mb=flavor["memory_mb"],
        disk_gb=flavor["disk_gb"],
        ephemeral_gb=flavor.get("ephemeral_gb", 0),
        swap_mb=flavor.get("swap_mb", 0),
        nics=[msgspec.convert(nic, Nic) for nic in server.addresses],
        metadata=server.metadata,
        user_data=server.user_data,
        files=[InjectedFile(path=file["path"], contents=file["contents"]) for file in server.personality or []],
        key_name=server.key_name,
        public_key=server.public_key,
        availability_zone=work.get("zone", server.availability_zone),
        launch_index=server.launch_index,
        config_drive=True,  # asked for or not: nothing on the wire tells a guest its address and keys (decision 0032)
        extra_specs=flavor.get("extra_specs", {}),
        properties=(server.image or {}).get("properties", {}),
        epoch=epoch,
        stays_off=work.get("stays_off", False),
        stays_paused=work.get("stays_paused", False),
    )


def flavor_after(server: Server, asked: dict[str, Any]) -> dict[str, Any]:
    """The flavor a server has, or will have once what was ``asked`` of an action is done."""
    flavor: dict[str, Any] = asked.get("flavor", server.flavor)
    return flavor


def need_of(flavor: dict[str, Any]) -> Need:
    """What a server of this flavor claims of its host; swap is kept in MiB and claimed in whole GiB. Extra specs
    ``resources:VCPU`` and the like say otherwise. A processor that it has for itself is no VCPU."""
    swap_gb = -(-int(flavor.get("swap_mb", 0)) // 1024)
    asked = requested_resources(flavor.get("extra_specs", {}))
    topology = of_flavor(flavor)
    return Need(
        vcpus=asked.get("VCPU", flavor["vcpus"] - (0 if topology is None else topology.dedicated)),
        memory_mb=asked.get("MEMORY_MB", flavor["memory_mb"]),
        disk_gb=asked.get("DISK_GB", flavor["disk_gb"] + flavor.get("ephemeral_gb", 0) + swap_gb),
        custom={name: amount for name, amount in asked.items() if amount and name not in REPORTED_CLASSES},
    )


def quota_of(flavor: dict[str, Any], count: int = 1) -> dict[str, int]:
    """What ``count`` servers of this flavor use of a project's quota."""
    return {"instances": count, "cores": flavor["vcpus"] * count, "ram": flavor["memory_mb"] * count}


def schedule_request(
    action_id: str,
    epoch: int,
    server: Server,
    excluded_hosts: list[str],
) -> ScheduleServer:
    """The request to find a host for a new server."""
    return ScheduleServer(
        action_id=action_id,
        epoch=epoch,
        guest=guest_spec(server, epoch),
        need=need_of(server.flavor),
        topology=of_flavor(server.flavor),
        availability_zone=server.requested_zone,
        requested_host=server.scheduler_hints.get(REQUESTED_HOST),
        excluded_hosts=excluded_hosts,
        hints=server.scheduler_hints,
        flavor=server.flavor.get("name", ""),
        image_id=server.image_id,
        least_memory_mb=_image_needs(server, "min_memory_mb"),
        least_disk_gb=_image_needs(server, "least_disk_gb"),
    )


def _reschedule_request(action: Action, server: Server) -> ScheduleServer:
    """The request to find a host for a server that was on one before: not the one it is to leave."""
    leaves = action.work.get("leaves")
    flavor = flavor_after(server, action.input)
    return ScheduleServer(
        action_id=action.id,
        epoch=action.epoch,
        kind=action.kind,
        guest=guest_spec(server, action.epoch, action),
        need=need_of(flavor),
        topology=of_flavor(flavor),
        availability_zone=server.requested_zone,
        requested_host=action.input.get("host"),
        forced=action.input.get("force", False),
        excluded_hosts=[*action.excluded_hosts, leaves] if leaves else action.excluded_hosts,
        hints=server.scheduler_hints,
        flavor=flavor.get("name", ""),
        image_id=server.image_id,
        input=action.input,
        work=action.work,
        least_memory_mb=_image_needs(server, "min_memory_mb"),
        least_disk_gb=_image_needs(server, "least_disk_gb"),
    )


def _image_needs(server: Server, what: str) -> int:
    """MiB or GiB that the server's image needs; 0 for servers that remember too little of theirs."""
    return int((server.image or {}).get(what, 0))


def step_message(connection: Connection, action: Action, server: Server) -> Outgoing:
    """The message that asks for the action's current step."""
    step = KINDS[action.kind].step(action.step)
    context = RequestContext(request_id=action.request_id, traceparent=action.traceparent)
    if step.performer is Performer.SCHEDULER:
        if action.kind == CREATE.name:
            request = schedule_request(action.id, action.epoch, server, action.excluded_hosts)
        else:
            request = _reschedule_request(action, server)
        return Outgoing(queue=SCHEDULER, message=request, context=context)
    message = PerformStep(
        action_id=action.id,
        kind=action.kind,
        step=action.step,
        epoch=action.epoch,
        server_id=server.id,
        guest=msgspec.structs.replace(
            guest_spec(server, action.epoch, action), topology=_given(connection, action, server)
        ),
        input=action.input,
        work=action.work,
    )
    queue = CONDUCTOR if step.performer is Performer.CONDUCTOR else compute_queue(action.on_host or "")
    return Outgoing(queue=queue, message=message, context=context)


def _given(connection: Connection, action: Action, server: Server) -> GivenTopology | None:
    """What the guest of the step was given of the topology of the host that performs it."""
    if "topology" not in server.flavor and "topology" not in flavor_after(server, action.input):
        return None
    kind = KINDS[action.kind]
    first = action.id if kind.moves and not kind.undoes(action.step) else server.id
    return topologies.given_to(connection, server.id, action.on_host or server.host, first, server.id)


def placed(
    request: ScheduleServer, host: str, zone: str, topology: GivenTopology | None, context: RequestContext
) -> Outgoing:
    """The message for the step behind the scheduler's, made from the request alone: nothing has to be read again."""
    kind = KINDS[request.kind]
    step = kind.after(SCHEDULE.name)
    assert step is not None
    work = {**request.work, "destination": host, "zone": zone} if kind.moves else request.work
    message = PerformStep(
        action_id=request.action_id,
        kind=kind.name,
        step=step.name,
        epoch=request.epoch + 1,
        server_id=request.guest.server_id,
        guest=msgspec.structs.replace(request.guest, topology=topology),
        input=request.input,
        work=work,
    )
    on_host = host_of_step(step, host, work)
    return Outgoing(queue=compute_queue(on_host or ""), message=message, context=context)
