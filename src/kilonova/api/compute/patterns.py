"""Regular expressions from clients: names are filtered by them, and every database runs its own engine over many rows.

So only such are taken as end soon whatever they are held against (nothing repeated that repeats), and as mean the same on all
three database systems.
"""

import re
import warnings

from kilonova.model.errors import Invalid

LONGEST = 255
REPEATS = 2
"""Repetitions one pattern may have: the work for one row grows with the text's length to this power."""

_LITERALS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)  # escaped letters and sets stand for one letter
_REPEAT = re.compile(r"(?:[*+?]|\{[0-9]{1,3}(?:,[0-9]{0,3})?\})\??")
_REFUSED = re.compile(r"\(\?|\)[*+?{]|[*+?}][*+]|(?:\}|[*+?]\?)\?")


def read_pattern(text: str, field: str) -> str:
    """The pattern without what changes nothing in a search. Raises ``Invalid`` for nonsense and for what may take for ever."""
    if len(text) > LONGEST:
        raise Invalid(f"The pattern of {field} has more than {LONGEST} letters.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # about sets inside sets, which Python may have one day
            re.compile(text)
    except (re.error, OverflowError, RecursionError):
        raise Invalid(f"The pattern of {field} is not a regular expression.") from None
    pattern = re.sub(r"^\^?(?:\.\*)+(?![?+{])", "", text)
    skeleton = _LITERALS.sub("x", pattern)
    repeats = _REPEAT.findall(skeleton)
    braces = skeleton.count("{") - sum("{" in repeat for repeat in repeats)
    if _REFUSED.search(skeleton) or braces or len(repeats) > REPEATS:
        raise Invalid(
            f"The pattern of {field} is too complex: at most {REPEATS} repetitions are taken, and none of a group."
        )
    return pattern
