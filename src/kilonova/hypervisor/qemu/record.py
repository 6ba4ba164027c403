"""What is written beside a guest's disk: enough for a restarted agent to know what it runs.

``instances/<server id>/`` belongs to one guest::

    guest.json    this record
    disk.qcow2    its root disk, an overlay on a base image; ephemeral.raw and swap.raw if it has them
    config.iso    its config drive
    rescue/       disk and config drive of the rescue system it boots, if it does
    console.log   what its serial console said, all its lives
    qemu.log      what QEMU itself said, its present life
    qemu.pid      there while QEMU runs, and after it only if it did not end in order
    *.sock        monitors (qmp.sock ours, debug.sock an operator's), serial console, VNC
"""

import os
from enum import StrEnum
from pathlib import Path

import msgspec

from kilonova.model.guest import GuestSpec

FILE = "guest.json"


class Wanted(StrEnum):
    """What the last verb wanted the process to be."""

    UP = "up"
    OFF = "off"


class GuestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One guest of this host.

    ``complete`` is False from the first moment of ``prepare`` until everything is there. ``released`` is
    written *before* the processors are let go, so a guest without it has certainly never run, while one
    with it may have. ``suspended``: its memory is kept in its root disk, and since then its processors have not run.
    ``rescue`` is what it boots instead of its own disk, with the files in ``rescue/``. ``argv`` is how
    its process was started last, for people; it holds no secret.
    """

    spec: GuestSpec
    complete: bool = False
    released: bool = False
    wanted: Wanted = Wanted.UP
    suspended: bool = False
    rescue: GuestSpec | None = None
    argv: list[str] = []
    layout: int = 1


def load(directory: Path) -> GuestRecord | None:
    """The record in ``directory``; None if there is none or it cannot be read (then nothing ever ran from it)."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=GuestRecord)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None


def save(directory: Path, record: GuestRecord) -> None:
    """Replace the record in one step: after a crash there is the old one or the new one.

    It holds the user's data and password, so only root may read it.
    """
    write_private(directory / FILE, msgspec.json.format(msgspec.json.encode(record)))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    unfinished = path.with_name(f"{path.name}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
