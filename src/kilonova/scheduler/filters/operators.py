"""The little language of extra specs: a requirement such as ``>= 4`` or ``<or> ssd <or> nvme``, compared with a value.

Without an operator the value has to be equal. A number that is none satisfies nothing.
"""

from collections.abc import Callable

_NUMBERS: dict[str, Callable[[float, float], bool]] = {
    "=": lambda value, wanted: value >= wanted,  # as it always was: kept for the flavors there are
    "==": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    ">=": lambda value, wanted: value >= wanted,
    "<=": lambda value, wanted: value <= wanted,
}
_WORDS: dict[str, Callable[[str, str], bool]] = {
    "s==": lambda value, wanted: value == wanted,
    "s!=": lambda value, wanted: value != wanted,
    "s<": lambda value, wanted: value < wanted,
    "s<=": lambda value, wanted: value <= wanted,
    "s>": lambda value, wanted: value > wanted,
    "s>=": lambda value, wanted: value >= wanted,
    "<in>": lambda value, wanted: wanted in value,
}


def satisfies(value: str | None, requirement: str) -> bool:
    """Whether a value is what the requirement asks for. ``None``, which is there for what is not there, never is."""
    if value is None:
        return False
    operator, *wanted = requirement.split() or [""]
    if operator == "<or>":
        return value in wanted[::2]  # every second word is <or> again
    if operator == "<all-in>":
        return bool(wanted) and all(word in value for word in wanted)
    if operator in _WORDS:
        return bool(wanted) and _WORDS[operator](value, wanted[0])
    if operator in _NUMBERS:
        return bool(wanted) and _compare(_NUMBERS[operator], value, wanted[0])
    return value == requirement


def _compare(operator: Callable[[float, float], bool], value: str, wanted: str) -> bool:
    try:
        return operator(float(value), float(wanted))
    except ValueError:
        return False
