"""What this machine has and lacks: read from the kernel, without changing anything."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import Misconfigured
from kilonova.model.guest import HostResources
from kilonova.model.topology.machine import Cell, Pages, Topology, cpu_set

CAP_NET_ADMIN = 12
TUN = Path("/dev/net/tun")


def require(settings: QemuSettings) -> None:
    """Raise ``Misconfigured``, with what to do, if real guests cannot run here."""
    packages = {
        settings.binary: "qemu-system-x86",
        settings.image_tool: "qemu-utils",
        settings.iso_tool: "genisoimage",
        "prlimit": "util-linux",
    }
    missing = {program: package for program, package in packages.items() if shutil.which(program) is None}
    if missing:
        raise Misconfigured(
            f"not found: {', '.join(missing)}. Install them (Debian: apt-get install {' '.join(missing.values())}), "
            "or use the fake hypervisor"
        )
    if not _capable(CAP_NET_ADMIN):
        raise Misconfigured(
            "guests need network devices, and this process may not make them: run as root "
            "(or with CAP_NET_ADMIN), or use the fake hypervisor"
        )
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        raise Misconfigured(
            f"{TUN} cannot be opened ({error.strerror}): load the kernel's tun module or give the container the "
            "device, or use the fake hypervisor"
        ) from error


def qemu_version(settings: QemuSettings) -> tuple[str, int]:
    """QEMU's version as it says it and as Nova's integer (7.2.22 is 7002022)."""
    try:
        done = subprocess.run([settings.binary, "--version"], capture_output=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise Misconfigured(f"{settings.binary} --version fails: reinstall it, or use the fake hypervisor") from error
    text = done.stdout.decode(errors="replace").splitlines()[0]
    match = re.search(r"version (\d+)\.(\d+)\.(\d+)", text)
    if match is None:
        raise Misconfigured(f"{settings.binary} gives no version ({text}): name a QEMU system emulator")
    major, minor, micro = (int(part) for part in match.groups())
    return text, major * 1_000_000 + minor * 1_000 + micro


def architecture() -> str:
    return platform.machine()


def cpu_model() -> str:
    """The processor's name, as the kernel knows it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return ""


def resources(state_dir: Path) -> HostResources:
    """Cores we may use, memory, and the disk the state directory is on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    disk = shutil.disk_usage(state_dir)
    return HostResources(
        vcpus=len(os.sched_getaffinity(0)),
        memory_mb=memory >> 20,
        disk_gb=disk.total >> 30,
        free_disk_gb=disk.free >> 30,
        topology=Topology(cells=[_cell(memory >> 20)]),
    )


def _cell(memory_mb: int) -> Cell:
    """The machine as one cell, whatever cells it has: where a guest's memory lies is left to the kernel."""
    usable = os.sched_getaffinity(0)
    cores = {tuple(sorted(_siblings(cpu) & usable)) for cpu in usable}
    siblings = [list(core) for core in sorted(cores) if len(core) > 1]
    return Cell(
        id=0, shared=sorted(usable), siblings=siblings, memory_mb=memory_mb, pages=[Pages(4, memory_mb * 256)]
    )


def _siblings(cpu: int) -> set[int]:
    try:
        return cpu_set(Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text().strip())
    except (OSError, ValueError):
        return {cpu}


def _capable(capability: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False
