"""What is measured of one guest: QEMU knows the disks, the kernel the processors and the network."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

from kilonova.hypervisor.qemu.instance import Instance
from kilonova.hypervisor.qemu.launch import disks, tap_name
from kilonova.model.diagnostics import CpuUse, DiskUse, GuestDiagnostics, NicUse
from kilonova.model.guest import Nic

_TICKS = os.sysconf("SC_CLK_TCK")
_TIME_USED = (11, 12)  # fields of /proc/…/stat behind the name: user and system time, in ticks
_BEGAN = 19  # the same: when it began, in ticks since the machine's start


async def diagnose(instance: Instance, accelerator: str) -> GuestDiagnostics:
    """As it is now. A guest without a process has nothing that could be measured."""
    spec = instance.record.spec
    stats: list[Any] = []
    threads: list[Any] = []
    balloon: dict[str, int] = {}
    if instance.running:
        stats = await instance.ask("query-blockstats") or []
        threads = await instance.ask("query-cpus-fast") or []
        balloon = await instance.ask("query-balloon") or {}
    pid = instance.pid
    return GuestDiagnostics(
        state=instance.state,
        hypervisor="kvm" if accelerator == "kvm" else "qemu",
        uptime=None if pid is None else await asyncio.to_thread(_uptime, pid),
        config_drive=spec.config_drive,
        memory_maximum=spec.memory_mb,
        memory_used=balloon["actual"] >> 20 if "actual" in balloon else None,
        memory_resident=None if pid is None else await asyncio.to_thread(_resident, pid),
        cpus=[] if pid is None else await asyncio.to_thread(_cpus, pid, threads),
        disks=_disks(instance, stats),
        nics=await asyncio.to_thread(_nics, spec.nics),
    )


def _disks(instance: Instance, stats: list[Any]) -> list[DiskUse]:
    names = {disk.name: f"vd{chr(ord('a') + at)}" for at, disk in enumerate(disks(instance.record.spec))}
    found = []
    for entry in stats:
        if entry.get("node-name") in names and entry.get("qdev"):  # a disk of the guest, not a layer below it
            of = entry["stats"]
            found.append(
                DiskUse(
                    name=names[entry["node-name"]],
                    read_bytes=of["rd_bytes"],
                    read_requests=of["rd_operations"],
                    write_bytes=of["wr_bytes"],
                    write_requests=of["wr_operations"],
                    errors_count=of.get("failed_rd_operations", 0) + of.get("failed_wr_operations", 0),
                )
            )
    return found


def _cpus(pid: int, threads: list[Any]) -> list[CpuUse]:
    found = []
    for entry in threads:
        fields = _stat(Path(f"/proc/{pid}/task/{entry['thread-id']}/stat"))
        used = None if fields is None else sum(int(fields[at]) for at in _TIME_USED) * 1_000_000_000 // _TICKS
        found.append(CpuUse(id=entry["cpu-index"], time=used))
    return found


def _uptime(pid: int) -> int | None:
    fields = _stat(Path(f"/proc/{pid}/stat"))
    if fields is None:
        return None
    return int(float(Path("/proc/uptime").read_text().split()[0]) - int(fields[_BEGAN]) / _TICKS)


def _stat(path: Path) -> list[str] | None:
    """The fields behind the name, which may hold spaces itself; None if the process is gone."""
    with contextlib.suppress(OSError):
        return path.read_text().rpartition(")")[2].split()
    return None


def _resident(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return None


def _nics(nics: list[Nic]) -> list[NicUse]:
    """What the host's end of a card sends is what the guest receives."""
    return [
        NicUse(
            name=tap_name(nic),
            mac_address=nic.mac,
            rx_octets=_counter(nic, "tx_bytes"),
            rx_errors=_counter(nic, "tx_errors"),
            rx_drop=_counter(nic, "tx_dropped"),
            rx_packets=_counter(nic, "tx_packets"),
            tx_octets=_counter(nic, "rx_bytes"),
            tx_errors=_counter(nic, "rx_errors"),
            tx_drop=_counter(nic, "rx_dropped"),
            tx_packets=_counter(nic, "rx_packets"),
        )
        for nic in nics
    ]


def _counter(nic: Nic, name: str) -> int | None:
    with contextlib.suppress(OSError):
        return int(Path(f"/sys/class/net/{tap_name(nic)}/statistics/{name}").read_text())
    return None
