"""What has to be sent after a transaction: the message for an action's current step, made from its rows."""

from typing import Any

import msgspec

from kilonova.messaging.contract import (
    CONDUCTOR,
    SCHEDULER,
    Message,
    Need,
    PerformStep,
    ScheduleServer,
    compute_queue,
)
from kilonova.model.action import Action, Performer
from kilonova.model.context import RequestContext
from kilonova.model.guest import GuestSpec, Nic
from kilonova.model.kinds.catalog import KINDS
from kilonova.model.placement import REQUESTED_HOST
from kilonova.model.server import Server


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """A message to send once the transaction is committed."""

    queue: str
    message: Message
    context: RequestContext


def guest_spec(server: Server, epoch: int = 0) -> GuestSpec:
    """The server as a hypervisor is told of it; the image ticket is added when the build begins."""
    flavor = server.flavor
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
        key_name=server.key_name,
        public_key=server.public_key,
        availability_zone=server.availability_zone,
        launch_index=server.launch_index,
        config_drive=True,  # asked for or not: nothing on the wire tells a guest its address and keys (decision 0032)
        extra_specs=flavor.get("extra_specs", {}),
        properties=(server.image or {}).get("properties", {}),
        epoch=epoch,
    )


def need_of(flavor: dict[str, Any]) -> Need:
    """What a server of this flavor claims of its host; swap is kept in MiB and claimed in whole GiB."""
    swap_gb = -(-int(flavor.get("swap_mb", 0)) // 1024)
    return Need(
        vcpus=flavor["vcpus"],
        memory_mb=flavor["memory_mb"],
        disk_gb=flavor["disk_gb"] + flavor.get("ephemeral_gb", 0) + swap_gb,
    )


def quota_of(flavor: dict[str, Any], count: int = 1) -> dict[str, int]:
    """What ``count`` servers of this flavor use of a project's quota."""
    return {"instances": count, "cores": flavor["vcpus"] * count, "ram": flavor["memory_mb"] * count}


def schedule_request(action_id: str, epoch: int, server: Server, excluded_hosts: list[str]) -> ScheduleServer:
    """The request to find a host for a server."""
    return ScheduleServer(
        action_id=action_id,
        epoch=epoch,
        guest=guest_spec(server, epoch),
        need=need_of(server.flavor),
        availability_zone=server.requested_zone,
        requested_host=server.scheduler_hints.get(REQUESTED_HOST),
        excluded_hosts=excluded_hosts,
        hints=server.scheduler_hints,
    )


def step_message(action: Action, server: Server) -> Outgoing:
    """The message that asks for the action's current step."""
    step = KINDS[action.kind].step(action.step)
    context = RequestContext(request_id=action.request_id, traceparent=action.traceparent)
    if step.performer is Performer.SCHEDULER:
        request = schedule_request(action.id, action.epoch, server, action.excluded_hosts)
        return Outgoing(queue=SCHEDULER, message=request, context=context)
    message = PerformStep(
        action_id=action.id,
        kind=action.kind,
        step=action.step,
        epoch=action.epoch,
        server_id=server.id,
        guest=guest_spec(server, action.epoch),
        input=action.input,
        work=action.work,
    )
    queue = CONDUCTOR if step.performer is Performer.CONDUCTOR else compute_queue(action.on_host or "")
    return Outgoing(queue=queue, message=message, context=context)
