"""Remote consoles: the kinds there are, and what a token for one lets in to."""

import msgspec


class ConsoleKind(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of console. ``feature`` is what the host's driver must offer (``Capabilities.features``)."""

    name: str
    protocol: str
    feature: str


KINDS: dict[str, ConsoleKind] = {
    kind.name: kind
    for kind in (
        ConsoleKind(name="novnc", protocol="vnc", feature="graphical-console"),
        ConsoleKind(name="serial", protocol="serial", feature="serial-console"),
        ConsoleKind(name="spice-html5", protocol="spice", feature="spice-console"),
        ConsoleKind(name="spice-direct", protocol="spice", feature="spice-direct-console"),
        ConsoleKind(name="webmks", protocol="mks", feature="mks-console"),
    )
}
GONE_PROTOCOLS = frozenset({"rdp"})
"""Protocols that the API still knows by name, and that nothing offers any more."""


class ConsoleToken(msgspec.Struct, frozen=True, kw_only=True):
    """What a token stands for: where a proxy finds the guest's console. ``expires_at`` in microseconds.

    ``internal_access_path`` tells the guests of one host apart, for they share its port.
    """

    server_id: str
    console_type: str
    host: str
    port: int
    tls_port: int | None
    internal_access_path: str | None
    access_url_base: str | None
    expires_at: int
