"""The words of quotas: which resources each microversion knows, and what is fixed because nothing counts it. Pure."""

from kilonova.config import QuotaConfig

NETWORK = ("fixed_ips", "floating_ips", "security_group_rules", "security_groups")
FILES = ("injected_file_content_bytes", "injected_file_path_bytes", "injected_files")
SERVER_GROUPS = ("server_group_members", "server_groups")
_ALWAYS = ("cores", "instances", "key_pairs", "metadata_items", "ram")

_FIXED = {
    **dict.fromkeys(NETWORK, -1),  # the network service counts its own
    "injected_files": 5,
    "injected_file_content_bytes": 10_240,
    "injected_file_path_bytes": 255,
}


def of_sets(version: int) -> tuple[str, ...]:
    """The resources of a project's quota set at 2.``version``."""
    return (
        *_ALWAYS,
        *SERVER_GROUPS,
        *(NETWORK if version < 36 else ()),
        *(FILES if version < 57 else ()),
    )


def of_classes(version: int) -> tuple[str, ...]:
    """The resources of a quota class at 2.``version``; server groups came when the network's left."""
    return (*_ALWAYS, *(NETWORK if version < 50 else SERVER_GROUPS), *(FILES if version < 57 else ()))


def defaults(config: QuotaConfig) -> dict[str, int]:
    """Every resource's limit when nobody changed it."""
    return {**_FIXED, **config.model_dump()}
