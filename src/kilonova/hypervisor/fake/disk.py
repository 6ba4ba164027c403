"""The disk of a fake guest, as an image: a qcow2 file that is empty and true to its format.

Reference: QEMU, ``docs/interop/qcow2``.
"""

import struct

_CLUSTER_BITS = 16
_CLUSTER = 1 << _CLUSTER_BITS
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")
_VERSION, _HEADER_LENGTH, _REFCOUNT_ORDER = 3, 104, 4


def empty_qcow2(size: int) -> bytes:
    """A disk of ``size`` bytes (at most 4 TiB) with nothing on it: header, refcounts, and one table without entries."""
    entries = -(-size // (_CLUSTER * _CLUSTER // 8))
    refcount_table, refcount_block, l1_table = _CLUSTER, 2 * _CLUSTER, 3 * _CLUSTER
    header = _HEADER.pack(
        *(b"QFI\xfb", _VERSION, 0, 0, _CLUSTER_BITS, size, 0, entries, l1_table),
        *(refcount_table, 1, 0, 0, 0, 0, 0, _REFCOUNT_ORDER, _HEADER_LENGTH),
    )
    clusters = (header, struct.pack(">Q", refcount_block), struct.pack(">4H", 1, 1, 1, 1), b"")
    return b"".join(content.ljust(_CLUSTER, b"\0") for content in clusters)
