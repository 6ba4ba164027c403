"""The file a serial console writes into: read from its end, and kept from growing without bound."""

import os
from pathlib import Path


def tail(path: Path, limit: int, lines: int | None) -> str:
    """The last ``lines`` lines (None: all) within the last ``limit`` bytes; empty if nothing was said yet.

    As Nova counts, what follows the last line feed is a line too, also if it is empty.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            content = file.read(limit)
    except FileNotFoundError:
        return ""
    if size > limit:
        content = content.partition(b"\n")[2]  # not the second half of a line
    text = content.decode(errors="replace").replace("\r\n", "\n")
    if lines is None:
        return text
    return "\n".join(text.split("\n")[-lines:]) if lines > 0 else ""


def trim(path: Path, limit: int) -> None:
    """Cut a console file that has more than four times ``limit`` bytes down to its last ``limit``.

    QEMU appends to it all the time and does not mind; what the guest says in just this moment may be lost.
    Without this a guest could fill the host's disk by talking.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        size = os.fstat(descriptor).st_size
        if size > 4 * limit:
            kept = os.pread(descriptor, limit, size - limit)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, kept, 0)
    finally:
        os.close(descriptor)
