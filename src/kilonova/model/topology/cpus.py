"""Which of a guest's processors want one of the host's each, and how threads of a core are to be used."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from kilonova.model.errors import Invalid
from kilonova.model.topology.machine import cpu_set

POLICIES = ("dedicated", "shared", "mixed")
THREAD_POLICIES = ("prefer", "isolate", "require")
EMULATOR_POLICIES = ("isolate", "share")
_TRUE = {"1", "t", "true", "on", "y", "yes"}
_THREADS_TRAIT = "HW_CPU_HYPERTHREADING"


class CpuWishes(msgspec.Struct, frozen=True, kw_only=True):
    """``dedicated``: by the guest's numbers. ``threads``, ``emulator``: policies, None for none. ``guest_threads``: of each of
    its cores."""

    dedicated: frozenset[int]
    threads: str | None
    emulator: str | None
    guest_threads: int


def cpu_wishes(vcpus: int, extra_specs: Mapping[str, str], properties: Mapping[str, Any]) -> CpuWishes:
    """What flavor and image say together. Raises ``Invalid`` where they contradict each other or themselves."""
    policy = _policy(extra_specs, properties)
    threads = _thread_policy(extra_specs, properties)
    emulator = _emulator_policy(extra_specs)
    policy = _explicit_resources(vcpus, policy, emulator, extra_specs)
    threads = _threads_trait(threads, extra_specs, properties)
    mask = _mask(vcpus, extra_specs)
    realtime = _realtime(vcpus, extra_specs, properties)
    guest_threads = _guest_threads(vcpus, extra_specs, properties)
    if policy in (None, "shared"):
        if threads:
            raise Invalid("Cannot set cpu thread pinning policy in a non dedicated cpu pinning policy")
        if emulator == "isolate":
            raise Invalid("An isolated CPU emulator threads option requires a dedicated CPU policy option.")
        if realtime is not None:
            raise Invalid("Cannot set realtime policy in a non dedicated cpu pinning policy")
    if mask is not None and policy != "mixed":
        raise Invalid("Dedicated CPU set of a flavor is for the CPU policy 'mixed' only ('hw:cpu_dedicated_mask').")
    if policy == "mixed":
        if (mask is None) == (realtime is None):
            raise Invalid("The CPU policy 'mixed' needs either 'hw:cpu_dedicated_mask' or 'hw:cpu_realtime_mask'.")
        dedicated = realtime if mask is None else mask
    else:
        dedicated = frozenset(range(vcpus)) if policy == "dedicated" else frozenset()
    return CpuWishes(
        dedicated=dedicated or frozenset(), threads=threads, emulator=emulator, guest_threads=guest_threads
    )


def _policy(extra_specs: Mapping[str, str], properties: Mapping[str, Any]) -> str | None:
    flavor, image = extra_specs.get("hw:cpu_policy"), properties.get("hw_cpu_policy")
    _known("CPU allocation policy", POLICIES, flavor, image)
    if (flavor == "shared" and image in ("mixed", "dedicated")) or (flavor == "mixed" and image == "dedicated"):
        raise Invalid(
            "Image property 'hw_cpu_policy' is not permitted to override CPU pinning policy set against the flavor"
        )
    return flavor or image or None


def _thread_policy(extra_specs: Mapping[str, str], properties: Mapping[str, Any]) -> str | None:
    flavor, image = extra_specs.get("hw:cpu_thread_policy"), properties.get("hw_cpu_thread_policy")
    _known("CPU thread allocation policy", THREAD_POLICIES, flavor, image)
    if flavor in (None, "prefer"):
        return image or flavor
    if image and image != flavor:
        raise Invalid(
            "Image property 'hw_cpu_thread_policy' is not permitted to override CPU thread pinning policy set against the flavor"
        )
    return flavor


def _emulator_policy(extra_specs: Mapping[str, str]) -> str | None:
    """Where the emulator itself runs; no image has a say in it."""
    policy = extra_specs.get("hw:emulator_threads_policy")
    _known("CPU emulator threads option", EMULATOR_POLICIES, policy)
    return policy or None


def _known(what: str, words: tuple[str, ...], *said: Any) -> None:
    for word in said:
        if word and word not in words:
            raise Invalid(f"Invalid {what} '{str(word)[:64]}'; known are {', '.join(words)}")


def _explicit_resources(
    vcpus: int, policy: str | None, emulator: str | None, extra_specs: Mapping[str, str]
) -> str | None:
    """``resources:PCPU`` and ``resources:VCPU`` say the same in Placement's words; an isolated emulator is a PCPU too."""
    pinned, shared = _amount(extra_specs, "PCPU"), _amount(extra_specs, "VCPU")
    if not (pinned or shared):
        return policy
    if policy:
        raise Invalid(
            "'resources:VCPU' and 'resources:PCPU' cannot be combined with a CPU policy; use one or the other"
        )
    if pinned and shared:
        raise Invalid("'resources:VCPU' and 'resources:PCPU' cannot be combined; use one or the other")
    if shared:
        return "shared"
    if emulator == "isolate" and pinned != vcpus + 1:
        raise Invalid(
            f"'resources:PCPU' is {pinned}, and the flavor has {vcpus} processors and, with "
            f"'hw:emulator_threads_policy=isolate', one for the emulator; it must be {vcpus + 1}"
        )
    if emulator != "isolate" and pinned != vcpus:
        raise Invalid(f"'resources:PCPU' is {pinned}, and the flavor has {vcpus} processors; they must be the same")
    return "dedicated"


def _amount(extra_specs: Mapping[str, str], resource: str) -> int:
    key = re.compile(rf"resources([1-9][0-9]*)?:{resource}")
    texts = [text for name, text in extra_specs.items() if key.fullmatch(name)]
    return sum(int(text) for text in texts if text.isdecimal() and len(text) <= 10)


def _threads_trait(threads: str | None, extra_specs: Mapping[str, str], properties: Mapping[str, Any]) -> str | None:
    trait = extra_specs.get(f"trait:{_THREADS_TRAIT}") or properties.get(f"trait:{_THREADS_TRAIT}")
    if trait not in ("required", "forbidden"):
        return threads
    if threads:
        raise Invalid(f"'trait:{_THREADS_TRAIT}' cannot be combined with a CPU thread policy; use one or the other")
    return "require" if trait == "required" else "isolate"


def _mask(vcpus: int, extra_specs: Mapping[str, str]) -> frozenset[int] | None:
    text = extra_specs.get("hw:cpu_dedicated_mask", "").strip()
    if not text:
        return None
    chosen = _some_of(vcpus, text, "hw:cpu_dedicated_mask")
    if len(chosen) == vcpus:
        raise Invalid("hw:cpu_dedicated_mask names all processors; that is the CPU policy 'dedicated'")
    return chosen


def _realtime(vcpus: int, extra_specs: Mapping[str, str], properties: Mapping[str, Any]) -> frozenset[int] | None:
    """The processors that are to run in real time; None if none is."""
    if extra_specs.get("hw:cpu_realtime", "").lower() not in _TRUE:
        return None
    text = str(properties.get("hw_cpu_realtime_mask") or extra_specs.get("hw:cpu_realtime_mask") or "").strip()
    chosen = _some_of(vcpus, text, "hw:cpu_realtime_mask") if text else frozenset(range(vcpus))
    if len(chosen) == vcpus and not extra_specs.get("hw:emulator_threads_policy"):
        raise Invalid(
            "Use either 'hw:cpu_realtime_mask' or 'hw:emulator_threads_policy=isolate' with 'hw:cpu_realtime'"
        )
    return chosen


def _some_of(vcpus: int, text: str, name: str) -> frozenset[int]:
    """Processors of the guest."""
    try:
        chosen = cpu_set(f"0-{vcpus - 1},{text}" if text.startswith("^") else text)
    except ValueError as error:
        raise Invalid(f"{name}: {error}") from None
    if not chosen or not chosen <= set(range(vcpus)):
        raise Invalid(f"{name} '{text[:64]}' must name some of the processors 0 to {vcpus - 1}")
    return frozenset(chosen)


# --- sockets, cores and threads that the guest sees ------------------------------------------------------------

_PARTS = ("sockets", "cores", "threads")


def _guest_threads(vcpus: int, extra_specs: Mapping[str, str], properties: Mapping[str, Any]) -> int:
    """Threads of each of the guest's cores. Raises ``Invalid`` for an image that goes beyond the flavor's bounds."""
    bounds: dict[str, int] = {}
    for part in _PARTS:
        flavor, image = _number(extra_specs, f"hw:cpu_max_{part}"), _number(properties, f"hw_cpu_max_{part}")
        if flavor and image > flavor:
            raise Invalid(f"Image CPU limit of {image} {part} is above the flavor's {flavor}")
        bounds[part] = image or flavor or 65_536
    of_flavor = {part: _number(extra_specs, f"hw:cpu_{part}") for part in _PARTS}
    of_image = {part: _number(properties, f"hw_cpu_{part}") for part in _PARTS}
    for part in _PARTS:
        if of_image[part] > bounds[part]:
            raise Invalid(f"Image CPU topology of {of_image[part]} {part} exceeds the maximum of {bounds[part]}")
    if any(of_flavor[part] > bounds[part] for part in _PARTS):
        of_flavor = dict.fromkeys(_PARTS, 0)
    chosen = of_image if any(of_image.values()) else of_flavor
    threads = chosen["threads"] or 1
    return threads if vcpus % threads == 0 else 1


def _number(said: Mapping[str, Any], name: str) -> int:
    text = str(said.get(name, "0"))
    if not text.isdecimal() or len(text) > 9:
        raise Invalid(f"{name} must be a whole number, not '{text[:64]}'")
    return int(text)
