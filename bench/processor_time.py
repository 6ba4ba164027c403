"""Processor time of programs and all they started, read from /proc; seconds, user and system together."""

import os
from collections.abc import Collection
from pathlib import Path

from kilonova.backing.server import PrivateServer

_TICKS = os.sysconf("SC_CLK_TCK")


def of_sessions(leaders: Collection[int]) -> dict[int, float]:
    """What the living processes of each session have used; a program started with ``start_new_session`` leads one."""
    used = dict.fromkeys(leaders, 0.0)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            session, seconds = parse((entry / "stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
        if session in used:
            used[session] += seconds
    return used


def of_servers(servers: Collection[PrivateServer]) -> float:
    """What private servers have used together; each leads a session."""
    return sum(of_sessions([server.process.pid for server in servers if server.process]).values())


def parse(stat: str) -> tuple[int, float]:
    """Session and seconds of one ``/proc/PID/stat`` (proc(5)): the name may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return int(fields[3]), (int(fields[11]) + int(fields[12])) / _TICKS
