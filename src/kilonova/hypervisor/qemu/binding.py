"""Binds a guest's threads to the processors they may run on: its own processors' and its emulator's."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestSpec
from kilonova.model.topology.given import GivenTopology


def require_possible(spec: GuestSpec) -> None:
    """Raise ``HostFault`` for what this driver never reports, and so was never to be asked for."""
    given = spec.topology
    if given is not None and (given.devices or len(given.cells) > 1 or (given.page_kib or 4) > 4):
        raise HostFault(
            f"server {spec.server_id} was given PCI devices, huge pages or several NUMA cells; "
            "QEMU hosts have none to give"
        )


def bind(pid: int, cpus: Sequence[Mapping[str, Any]], spec: GuestSpec, shared: frozenset[int] | None) -> None:
    """``cpus`` is what QEMU says of the guest's processors, ``shared`` the host's that are for everybody (None: all).

    Threads that begin later run where the one that begins them may. Raises ``HostFault``.
    """
    given = spec.topology or GivenTopology()
    pins, emulator = given.pins, emulator_cpus(given, shared)
    try:
        if emulator:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    os.sched_setaffinity(int(task.name), emulator)
        for cpu in cpus:
            where = {pins[cpu["cpu-index"]]} if cpu["cpu-index"] in pins else shared
            if where:
                os.sched_setaffinity(cpu["thread-id"], where)
    except OSError as error:
        raise HostFault(
            f"server {spec.server_id} cannot be bound to its processors ({error.strerror}); "
            "are those of compute.cpu_dedicated_set there?",
            details=str(error),
        ) from error


def emulator_cpus(given: GivenTopology, shared: frozenset[int] | None) -> frozenset[int]:
    """Where everything of a guest runs that is none of its processors; empty: anywhere.

    On what was given to it alone; or on the shared ones, if that was asked for; else wherever its processors run.
    """
    if given.emulator:
        return given.emulator
    own, rest = frozenset(given.pins.values()), shared or frozenset()
    if given.emulator_shares and rest:
        return rest
    floats = not own or any(cell.shared for cell in given.cells)
    return own | rest if floats else own
