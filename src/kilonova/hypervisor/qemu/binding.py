"""Binds a guest's threads to the processors they may run on: those that it was given, and the shared ones for all else of it."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kilonova.model.errors import HostFault
from kilonova.model.guest import GuestSpec


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
    pins = {} if spec.topology is None else spec.topology.pins
    rest = shared or frozenset(pins.values())
    try:
        if shared is not None and rest:
            for task in Path(f"/proc/{pid}/task").iterdir():
                with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                    os.sched_setaffinity(int(task.name), rest)
        for cpu in cpus:
            if cpu["cpu-index"] in pins:
                os.sched_setaffinity(cpu["thread-id"], {pins[cpu["cpu-index"]]})
    except OSError as error:
        raise HostFault(
            f"server {spec.server_id} cannot be bound to its processors ({error.strerror}); "
            "are those of compute.cpu_dedicated_set there?",
            details=str(error),
        ) from error
