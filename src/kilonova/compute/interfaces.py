"""The steps of attach_interface and detach_interface: the guest has the cards it is to have, and no others."""

import structlog

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.model.errors import KilonovaError
from kilonova.model.guest import Nic

log = structlog.get_logger()


async def plug(run: StepRun, tools: Tools) -> None:
    """Give the guest the new card beside those it has. When that fails, it has it no more."""
    assert run.asked.guest is not None
    server_id, nics = run.asked.server_id, run.asked.guest.nics
    try:
        with run.timeline.span("plug"):
            await tools.driver.change_nics(server_id, nics)
    except KilonovaError:
        await _take_back(run, tools, _others(run, nics))
        raise
    await run.finish()


async def unplug(run: StepRun, tools: Tools) -> None:
    """Take one card away."""
    assert run.asked.guest is not None
    with run.timeline.span("unplug"):
        await tools.driver.change_nics(run.asked.server_id, _others(run, run.asked.guest.nics))
    await run.finish()


def _others(run: StepRun, nics: list[Nic]) -> list[Nic]:
    return [nic for nic in nics if nic.port_id != run.asked.input["port_id"]]


async def _take_back(run: StepRun, tools: Tools, nics: list[Nic]) -> None:
    """Best effort: a guest that does not let go of a card keeps one that nobody answers on."""
    try:
        await tools.driver.change_nics(run.asked.server_id, nics)
    except KilonovaError as error:
        log.warning("a card that could not be attached stays", server=run.asked.server_id, error=error.message)
