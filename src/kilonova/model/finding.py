"""A finding: something that should never be so, in words an operator can act on."""

import msgspec


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` names the broken rule, ``subject`` the id or name of what breaks it, ``message`` what is so and what to do."""

    kind: str
    subject: str
    message: str
