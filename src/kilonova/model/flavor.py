"""Flavors and key pairs as values."""

import msgspec


class Flavor(msgspec.Struct, frozen=True, kw_only=True):
    """A size of server. Cores, MiB, GiB; ``swap_mb`` in MiB. A server keeps the copy it was made with."""

    id: str
    name: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    disabled: bool = False
    description: str | None = None
    extra_specs: dict[str, str] = {}


class Keypair(msgspec.Struct, frozen=True, kw_only=True):
    """A public key that guests are told; the private half is never kept."""

    id: int
    user_id: str
    name: str
    type: str
    fingerprint: str
    public_key: str
    created_at: int
