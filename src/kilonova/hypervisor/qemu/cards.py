"""Network cards plugged into a guest and pulled out of it while it runs.

A card is a device on one of the free root ports and the host's end behind it, both named after the port. Pulling one out asks the
guest's kernel to let go of it; one that does not answer (it is still booting, it has no hot-plug) is waited for within bounds.
"""

from typing import Any

import msgspec

from kilonova.hypervisor.qemu import bridge
from kilonova.hypervisor.qemu.instance import Instance
from kilonova.hypervisor.qemu.launch import card_id, tap_name
from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.clock import Clock
from kilonova.model.errors import HostFault
from kilonova.model.guest import Nic

LET_GO_SECONDS = 20.0
ASK_AGAIN_SECONDS = 5.0
_LOOK_SECONDS = 0.1


async def change(instance: Instance, nics: list[Nic], clock: Clock, settings: QemuSettings) -> None:
    """Give a guest these cards. The record names a card before anything of it exists, and as long as anything of it does."""
    slots = _Slots(instance, settings.monitor_timeout)
    wanted = {nic.port_id for nic in nics}
    for nic in instance.record.spec.nics:
        if nic.port_id not in wanted:
            if instance.running:
                await slots.empty(nic, clock)
            await bridge.unplug([nic])
            await _note(instance, [other for other in instance.record.spec.nics if other.port_id != nic.port_id])
    for nic in nics:
        if nic.port_id not in {own.port_id for own in instance.record.spec.nics}:
            await _note(instance, [*instance.record.spec.nics, nic])
        if instance.running:
            await bridge.plug(nic)
            await slots.fill(nic)
    await _note(instance, nics)


async def _note(instance: Instance, nics: list[Nic]) -> None:
    if instance.record.spec.nics != nics:
        await instance.note(spec=msgspec.structs.replace(instance.record.spec, nics=list(nics)))


class _Slots:
    """The slots of a guest that runs."""

    def __init__(self, instance: Instance, timeout: float) -> None:
        self._instance = instance
        self._timeout = timeout

    async def fill(self, nic: Nic) -> None:
        """Plug a card in, if it is not. Raises ``HostFault``."""
        name = card_id(nic)
        if name in await self._devices():
            return
        free = await self._free()
        if not free:
            raise HostFault(
                f"server {self._instance.server_id} has no free slot for another card; detach one first", retry=False
            )
        host_end: dict[str, object] = {"type": "tap", "id": f"net-{name}", "ifname": tap_name(nic)}
        await self._forgiving(
            "Duplicate", "netdev_add", {**host_end, "script": "no", "downscript": "no", "vhost": False}
        )
        card: dict[str, object] = {
            "driver": "virtio-net-pci",
            "id": name,
            "netdev": f"net-{name}",
            "bus": _chosen(nic, free),
        }
        await self._command("device_add", {**card, "mac": nic.mac, "host_mtu": nic.mtu, "romfile": ""})

    async def empty(self, nic: Nic, clock: Clock) -> None:
        """Have the guest let go of a card: asked, and again if it was not listening yet. Raises ``HostFault`` in the end."""
        name = card_id(nic)
        began, asked_at = clock.monotonic(), float("-inf")
        while name in await self._devices():
            now = clock.monotonic()
            if now - began > LET_GO_SECONDS:
                raise HostFault(
                    f"the guest of server {self._instance.server_id} does not let go of its card {tap_name(nic)} "
                    f"({LET_GO_SECONDS:g} s); stop the server and detach it then",
                    retry=False,
                )
            if now - asked_at > ASK_AGAIN_SECONDS:
                asked_at = now
                await self._forgiving("unplug", "device_del", {"id": name})
            await clock.sleep(_LOOK_SECONDS)
        await self._forgiving("not found", "netdev_del", {"id": f"net-{name}"})

    async def _devices(self) -> set[str]:
        """The names of the devices that have one."""
        found: list[dict[str, Any]] = await self._command("qom-list", {"path": "/machine/peripheral"})
        return {entry["name"] for entry in found}

    async def _free(self) -> list[str]:
        """The root ports with nothing behind them."""
        return [
            device["qdev_id"]
            for bus in await self._command("query-pci")
            for device in bus["devices"]
            if device["qdev_id"].startswith("port") and not device.get("pci_bridge", {}).get("devices")
        ]

    async def _forgiving(self, already: str, command: str, arguments: dict[str, object]) -> None:
        """A command that may have been given before: QEMU says so in its refusal."""
        try:
            await self._command(command, arguments)
        except HostFault as fault:
            if already.lower() not in fault.details.lower():
                raise

    async def _command(self, command: str, arguments: dict[str, object] | None = None) -> Any:
        return await self._instance.command(command, arguments, timeout=self._timeout)


def _chosen(nic: Nic, free: list[str]) -> str:
    """The card's own root port; any, if it has none or another device is there."""
    own = f"port{nic.slot}"
    return own if own in free else free[0]
