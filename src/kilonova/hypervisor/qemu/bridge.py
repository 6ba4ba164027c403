"""The host's side of a guest's network: a bridge for each network, a tap for each card.

Guests on one bridge reach each other and the host, whose address the bridge bears. Nothing leads out from
there: the bridge does not forward. Every call is idempotent. A bridge with an address stays when its last guest goes, since
others (DHCP, metadata, another agent) may be bound to it, and ``remove_bridge`` takes it away; one without, of a
project's own network, goes with its last guest.
"""

import asyncio
import functools
import hashlib
import ipaddress
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from kilonova.hypervisor.qemu.launch import tap_name
from kilonova.model.errors import HostFault
from kilonova.model.guest import Nic

EXISTS = 17
NO_SUCH_DEVICE = 19

_Arguments = ParamSpec("_Arguments")
_ONE_AT_A_TIME = (
    threading.Lock()
)  # else the last guest of a bridge could take it from under one that is being plugged in


def _on_a_loop_of_its_own(
    function: Callable[_Arguments, Coroutine[Any, Any, None]],
) -> Callable[_Arguments, Awaitable[None]]:
    """Run it in a worker thread: pyroute2's sockets need asyncio's own event loop, and our services run on uvloop."""

    def run(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> None:
        with _ONE_AT_A_TIME, asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(function(*arguments, **named))

    @functools.wraps(function)
    async def wrapper(*arguments: _Arguments.args, **named: _Arguments.kwargs) -> None:
        await asyncio.to_thread(run, *arguments, **named)

    return wrapper


@_on_a_loop_of_its_own
async def plug(nic: Nic) -> None:
    """Make the card's bridge and tap. Raises ``HostFault`` that names what the kernel refused."""
    tap = tap_name(nic)
    try:
        async with AsyncIPRoute() as netlink:
            bridge = await _bridge(netlink, nic)
            await _make(netlink, tap, kind="tuntap", mode="tap")
            index = await _index(netlink, tap)
            await netlink.link("set", index=index, master=bridge, mtu=nic.mtu, state="up")
    except NetlinkError as error:
        message = f"the network {nic.network_name} could not be set up (bridge {nic.bridge}, {tap}); look at ip link"
        raise HostFault(message, details=str(error)) from error


@_on_a_loop_of_its_own
async def unplug(nics: list[Nic]) -> None:
    """Remove the taps of the cards, if they are there. Raises ``HostFault``."""
    if not nics:
        return
    try:
        async with AsyncIPRoute() as netlink:
            for nic in nics:
                await _remove(netlink, tap_name(nic))
            for name in {nic.bridge for nic in nics if nic.bridge and not nic.host_address}:
                await _remove_empty(netlink, name)
    except NetlinkError as error:
        names = ", ".join(tap_name(nic) for nic in nics)
        raise HostFault(f"{names} could not be removed; look at ip link", details=str(error)) from error


@_on_a_loop_of_its_own
async def remove_bridge(name: str) -> None:
    """Remove a bridge, if it is there."""
    async with AsyncIPRoute() as netlink:
        await _remove(netlink, name)


async def _remove_empty(netlink: Any, name: str) -> None:
    """Take a bridge away that nobody is on."""
    for index in await netlink.link_lookup(ifname=name):
        if not await netlink.link_lookup(master=index):
            await _remove(netlink, name)


async def _bridge(netlink: Any, nic: Nic) -> int:
    """The index of the card's bridge, made, addressed and up."""
    if not 0 < len(nic.bridge) < 16:
        raise HostFault(f"port {nic.port_id} names no usable bridge ({nic.bridge!r}): 1 to 15 letters", retry=False)
    # An address of its own: otherwise it takes the lowest of its ports', and changes it as guests come and go.
    mac = "02:" + ":".join(f"{byte:02x}" for byte in hashlib.sha256(nic.bridge.encode()).digest()[:5])
    await _make(netlink, nic.bridge, kind="bridge", br_stp_state=0, br_forward_delay=0, address=mac)
    index = await _index(netlink, nic.bridge)
    _no_forwarding(nic.bridge)
    if nic.host_address:
        address = ipaddress.ip_interface(nic.host_address)
        try:
            await netlink.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)
        except NetlinkError as error:
            if error.code != EXISTS:
                raise
    await netlink.link("set", index=index, state="up")
    return index


async def _make(netlink: Any, name: str, **what: object) -> None:
    if await netlink.link_lookup(ifname=name):
        return
    try:
        await netlink.link("add", ifname=name, **what)
    except NetlinkError as error:
        if error.code != EXISTS:
            raise


async def _index(netlink: Any, name: str) -> int:
    found = await netlink.link_lookup(ifname=name)
    if not found:
        raise NetlinkError(NO_SUCH_DEVICE, name)
    return int(found[0])


async def _remove(netlink: Any, name: str) -> None:
    for index in await netlink.link_lookup(ifname=name):
        try:
            await netlink.link("del", index=index)
        except NetlinkError as error:
            if error.code != NO_SUCH_DEVICE:
                raise


def _no_forwarding(bridge: str) -> None:
    """Keep the host from routing for guests: a way out is for the network service to open."""
    for family in ("ipv4", "ipv6"):
        switch = Path(f"/proc/sys/net/{family}/conf/{bridge}/forwarding")
        if switch.exists() and switch.read_text().strip() != "0":
            switch.write_text("0")
