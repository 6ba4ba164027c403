"""Opens the hypervisor driver that the configuration asks for, or the best that this machine can serve."""

from pathlib import Path

import structlog

from kilonova.config import Config
from kilonova.hypervisor.driver import Driver
from kilonova.hypervisor.fake.driver import FakeDriver
from kilonova.hypervisor.fake.settings import FakeSettings, read_device
from kilonova.model.clock import Clock, Random
from kilonova.model.errors import Misconfigured
from kilonova.model.guest import Capabilities
from kilonova.model.topology.machine import named_cpus

log = structlog.get_logger()


async def open_driver(config: Config, directory: Path, clock: Clock, random: Random) -> tuple[Driver, Capabilities]:
    """A started driver. ``auto`` falls back to ``fake`` with a warning that says what is missing for real guests."""
    wanted = config.compute.driver
    if wanted == "fake":
        return await _fake(config, directory, clock, random)
    try:
        return await _qemu(config, directory, clock)
    except Misconfigured as error:
        if wanted == "qemu":
            raise
        log.warning("real guests cannot run here, hosts are imitated", reason=error.message)
        return await _fake(config, directory, clock, random)


async def _qemu(config: Config, directory: Path, clock: Clock) -> tuple[Driver, Capabilities]:
    from kilonova.compute.fetcher import HttpFetcher
    from kilonova.compute.uploader import HttpUploader
    from kilonova.hypervisor.qemu.driver import QemuDriver
    from kilonova.hypervisor.qemu.settings import QemuSettings

    compute = config.compute
    divided = compute.cpu_dedicated_set is not None or compute.cpu_shared_set is not None
    shared = frozenset(named_cpus("cpu_shared_set", compute.cpu_shared_set)) if divided else None
    settings = QemuSettings(accelerator=compute.accelerator, shared_cpus=shared)
    driver = QemuDriver(directory, clock, HttpFetcher(), settings, HttpUploader())
    return driver, await driver.start()


async def _fake(config: Config, directory: Path, clock: Clock, random: Random) -> tuple[Driver, Capabilities]:
    from kilonova.compute.uploader import HttpUploader

    delay = config.compute.fake_delay
    compute = config.compute
    settings = FakeSettings(
        delays={"prepare": delay, "power_off": delay, "reboot": delay} if delay else {},
        numa_cells=compute.fake_numa_cells,
        threads=compute.fake_threads,
        huge_pages=compute.fake_huge_pages,
        pci_devices=[read_device(text, number) for number, text in enumerate(compute.fake_pci_devices)],
    )
    driver = FakeDriver(clock, random, settings, directory / "guests.journal", HttpUploader())
    return driver, await driver.start()
