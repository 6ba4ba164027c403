"""The step ``build`` of a create: prepare the guest, have the database confirm it, let it run (step 5 of the picture)."""

import msgspec
import structlog

from kilonova.compute.step import StepRun
from kilonova.compute.tools import Tools
from kilonova.hypervisor.driver import Driver
from kilonova.model.clock import Clock
from kilonova.model.errors import HostFault, Stale
from kilonova.model.guest import GuestSpec
from kilonova.model.server import PowerState

log = structlog.get_logger()


async def build(run: StepRun, tools: Tools) -> None:
    """Perform it. The guest runs only if the database says it may; if there is no word (``Unavailable``), it stays prepared."""
    assert run.asked.guest is not None and run.granted is not None
    spec = msgspec.structs.replace(run.asked.guest, nics=run.granted.nics, image=run.granted.image, epoch=run.epoch)
    await prepare(run, tools, spec)
    await confirm(run, tools, spec)


async def confirm(run: StepRun, tools: Tools, spec: GuestSpec) -> None:
    """Report a prepared guest; let it run if the database has it, unmake it if a successor took over.

    A word that does not come (``Unavailable``) leaves it as it is, prepared.
    """
    try:
        await run.finish(PowerState.SHUTDOWN if spec.stays_off else PowerState.RUNNING)
    except Stale as stale:
        log.info("undone: a successor took over", server=spec.server_id, step=run.asked.step, reason=stale.message)
        await tools.driver.destroy(spec.server_id)
        return
    await tools.driver.release(spec.server_id)


async def prepare(run: StepRun, tools: Tools, spec: GuestSpec) -> None:
    """Have the guest made ready, processors stopped. Raises ``StepFailed`` when that failed, was undone here and is reported."""
    driver, stage = tools.driver, _Stages(run, tools.clock)
    try:
        await driver.prepare(spec, stage.begin)
    except Stale:
        raise
    except HostFault as fault:
        stage.end("Error")
        await _undo(driver, spec.server_id)
        await run.fail(fault)
        raise StepFailed from fault
    except Exception as error:
        stage.end("Error")
        log.exception("preparation failed unexpectedly", server=spec.server_id)
        await _undo(driver, spec.server_id)
        await run.fail(error)
        raise StepFailed from error
    stage.end("Success")


async def _undo(driver: Driver, server_id: str) -> None:
    """Best effort: what cannot be removed now, reconcile removes, as its server is not here any more."""
    try:
        await driver.destroy(server_id)
    except Exception:
        log.exception("what a failed build left could not be removed yet", server=server_id)


class StepFailed(Exception):
    """The step failed, was undone and reported: there is nothing left to do."""


class _Stages:
    """Turns the driver's progress into stretches of the timeline."""

    def __init__(self, run: StepRun, clock: Clock) -> None:
        self._run = run
        self._clock = clock
        self._name: str | None = None
        self._since = clock.now()

    def begin(self, name: str) -> None:
        self.end("Success")
        self._name, self._since = name, self._clock.now()

    def end(self, result: str) -> None:
        if self._name is not None:
            self._run.timeline.add(f"build.{self._name}", self._since, result=result)
            self._name = None
