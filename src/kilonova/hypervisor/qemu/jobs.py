"""Long work of one QEMU: a job is begun through the monitor and asked about until it is over."""

from typing import Any

from kilonova.hypervisor.qemu.instance import Instance
from kilonova.model.clock import Clock
from kilonova.model.errors import HostFault

LOOK_SECONDS = 0.02
"""Between two questions about a job; the short ones take some 50 ms."""


async def run_job(instance: Instance, clock: Clock, job: str, arguments: dict[str, object], timeout: float) -> None:
    """Have the job done that the command ``job`` begins, under that name. Raises ``HostFault``, and leaves no job behind."""
    await _dismiss(instance, job, timeout)
    await instance.command(job, {**arguments, "job-id": job}, timeout=timeout)
    deadline = clock.monotonic() + timeout
    while (state := await _state(instance, job, timeout)) is not None and state["status"] != "concluded":
        if clock.monotonic() > deadline:
            await instance.command("job-cancel", {"id": job}, timeout=timeout)
            raise HostFault(f"{job} of server {instance.server_id} did not end within {timeout:g} s")
        await clock.sleep(LOOK_SECONDS)
    await _dismiss(instance, job, timeout)
    if state is not None and state.get("error"):
        raise HostFault(f"{job} of server {instance.server_id} failed on the host", details=str(state["error"]))


async def _state(instance: Instance, job: str, timeout: float) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = await instance.command("query-jobs", timeout=timeout)
    return next((entry for entry in found if entry["id"] == job), None)


async def _dismiss(instance: Instance, job: str, timeout: float) -> None:
    """A job that is over stays known until it is dismissed; one that an agent before us began may be there still."""
    state = await _state(instance, job, timeout)
    if state is not None and state["status"] == "concluded":
        await instance.command("job-dismiss", {"id": job}, timeout=timeout)
