"""What the real guests of this machine leave behind when their cloud is stopped: nothing but their disks.

This works on the hypervisor directly, when no nova-compute runs any more, so it also clears up after one that was killed.
Guests that run are asked to shut down and written on their host's resume list first; the next start powers them on again.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from kilonova.compute.resume import ResumeList
from kilonova.config import Config
from kilonova.hypervisor.driver import Driver
from kilonova.hypervisor.qemu import bridge, process, record
from kilonova.hypervisors import open_driver
from kilonova.model.clock import SystemClock, system_random
from kilonova.model.errors import KilonovaError
from kilonova.model.guest import GuestState, Nic
from kilonova.service import lock_host

_KILL_SECONDS = 5.0


class ShutDown(msgspec.Struct, kw_only=True):
    """What was found and done. ``left`` names what would not go."""

    guests: int = 0
    left: list[str] = []


def real_hosts(hosts: Path) -> list[Path]:
    """The directories of hosts that have (or had) real guests."""
    return sorted(path.parent for path in hosts.glob("*/instances") if path.is_dir())


def running_guests(hosts: Path) -> int:
    """How many guests' processes live, whoever watches them."""
    return sum(len(process.find((host / "instances").resolve())) for host in real_hosts(hosts))


async def shut_down(config: Config, hosts: Path, progress: Callable[[str], None]) -> ShutDown:
    """End all guests of these hosts, then their taps, then bridges nobody uses."""
    done = ShutDown()
    bridges = {config.network.bridge}
    for host in real_hosts(hosts):
        lock = lock_host(host, host.name)
        try:
            if process.find((host / "instances").resolve()):
                done.guests += await _power_off(config, host, progress)
            done.left += await _kill_rest((host / "instances").resolve())
            nics = _nics(host / "instances")
            await bridge.unplug(nics)
            bridges.update(nic.bridge for nic in nics)
        finally:
            lock.close()
    if real_hosts(hosts):
        for name in sorted(bridges):
            await _remove_unused(name)
    return done


async def _power_off(config: Config, host: Path, progress: Callable[[str], None]) -> int:
    real = config.model_copy(update={"compute": config.compute.model_copy(update={"driver": "qemu"})})
    driver, _ = await open_driver(real, host, SystemClock(), system_random())
    try:
        alive = [
            guest
            for guest in await driver.list_guests()
            if guest.state in (GuestState.RUNNING, GuestState.PAUSED, GuestState.CRASHED)
        ]
        ResumeList(host).add(guest.server_id for guest in alive if guest.state is not GuestState.CRASHED)
        left = {guest.name for guest in alive}
        progress(", ".join(sorted(left)))

        async def power_off(server_id: str, name: str) -> None:
            await _quietly(driver, server_id, config.compute.shutdown_grace)
            left.discard(name)
            progress(", ".join(sorted(left)))

        await asyncio.gather(*(power_off(guest.server_id, guest.name) for guest in alive))
        return len(alive)
    finally:
        await driver.stop()


async def _quietly(driver: Driver, server_id: str, grace: float) -> None:
    """A guest whose monitor is broken is killed with the rest."""
    with contextlib.suppress(KilonovaError):
        await driver.power_off(server_id, grace)


async def _kill_rest(instances: Path) -> list[str]:
    """Processes that are still there: prepared ones, which never ran, and those nobody can talk to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in process.find(instances).values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + _KILL_SECONDS
        while process.find(instances) and time.monotonic() < deadline:  # noqa: ASYNC110 -- no children of ours
            await asyncio.sleep(0.05)
    return [f"the guest {server_id} (pid {pid})" for server_id, pid in process.find(instances).items()]


def _nics(instances: Path) -> list[Nic]:
    records = [record.load(directory) for directory in instances.iterdir() if directory.is_dir()]
    return [nic for known in records if known is not None for nic in known.spec.nics]


async def _remove_unused(name: str) -> None:
    """Another cloud on this machine may have its guests on a bridge of the same name."""
    ports = Path(f"/sys/class/net/{name}/brif")
    if ports.is_dir() and not any(ports.iterdir()):
        await bridge.remove_bridge(name)
