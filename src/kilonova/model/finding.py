"""A finding: something that should never be so, in words an operator can act on."""

import msgspec

# What hosts report; the kinds of the database's own checks stand in ``database/checks.py``.
GUEST_OF_NOBODY = "guest_of_nobody"
GUEST_GONE = "guest_gone"
GUEST_CHANGED = "guest_changed"
GUEST_CARDS = "guest_cards"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` names the broken rule, ``subject`` the id or name of what breaks it, ``message`` what is so and what to do."""

    kind: str
    subject: str
    message: str
