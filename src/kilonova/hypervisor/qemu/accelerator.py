"""KVM or software emulation: found out by letting a real guest kernel run, not by looking at ``/dev/kvm``.

There are machines on which the device opens, guests can be made, and any real kernel hangs or aborts. So KVM is
taken only when a Linux kernel got through its own start under it. The answer is kept until the machine
boots again, or QEMU or the kernel of the probe changes.
"""

import asyncio
import os
from pathlib import Path

import msgspec

from kilonova.hypervisor.qemu.settings import QemuSettings
from kilonova.model.errors import Misconfigured

CACHE = "accelerator.json"
DEVICE = Path("/dev/kvm")

# A kernel without a root disk says this at the end of its start: timers, memory, interrupts and drivers all worked.
PROOF = (b"Unable to mount root fs", b"No working init found", b"Run /init as init process")
CONSOLE_LIMIT = 1 << 20


class Answer(msgspec.Struct, frozen=True):
    """``accelerator`` is ``kvm`` or ``tcg``; ``warning`` says what TCG means for the operator."""

    accelerator: str
    warning: str = ""


class _Kept(msgspec.Struct, frozen=True):
    asked: list[str]
    answer: Answer


async def find_accelerator(state_dir: Path, version: str, settings: QemuSettings) -> Answer:
    """The accelerator to use. Raises ``Misconfigured`` if ``kvm`` is demanded and does not work."""
    if settings.accelerator == "tcg":
        return Answer("tcg", _slow("the configuration asks for it"))
    if settings.accelerator not in ("auto", "kvm"):
        raise Misconfigured(f"accelerator is {settings.accelerator!r}: it can be auto, kvm or tcg")
    kernel = settings.probe_kernel or _newest_kernel()
    asked = [_boot_id(), settings.binary, version, str(kernel)]
    answer = _remembered(state_dir / CACHE, asked)
    if answer is None:
        answer = await _probe(kernel, settings)
        (state_dir / CACHE).write_bytes(msgspec.json.encode(_Kept(asked, answer)))
    if settings.accelerator == "kvm" and answer.accelerator != "kvm":
        raise Misconfigured(f"accelerator is kvm, but: {answer.warning}")
    return answer


async def _probe(kernel: Path | None, settings: QemuSettings) -> Answer:
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        return Answer("tcg", _slow(f"{DEVICE} cannot be opened"))
    if kernel is None:
        return Answer("tcg", _slow("KVM could not be proven: no Linux kernel in /boot; name one as probe_kernel"))
    said = await _console_of(kernel, settings)
    if any(proof in said for proof in PROOF):
        return Answer("kvm")
    return Answer("tcg", _slow(f"{DEVICE} opens, but a guest kernel does not run under it"))


async def _console_of(kernel: Path, settings: QemuSettings) -> bytes:
    """What ``kernel`` says under KVM until it has proven itself, dies, or the time is over."""
    process = await asyncio.create_subprocess_exec(
        settings.binary,
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", "256"),
        *("-machine", "q35", "-accel", "kvm", "-cpu", "host", "-serial", "stdio"),
        *("-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    said = b""
    assert process.stdout is not None
    try:
        async with asyncio.timeout(settings.probe_timeout):
            while len(said) < CONSOLE_LIMIT and not any(proof in said for proof in PROOF):
                more = await process.stdout.read(4096)
                if not more:
                    break
                said += more
    except TimeoutError:
        pass
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    return said


def _remembered(cache: Path, asked: list[str]) -> Answer | None:
    try:
        kept = msgspec.json.decode(cache.read_bytes(), type=_Kept)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    return kept.answer if kept.asked == asked else None


def _newest_kernel() -> Path | None:
    kernels = [path for path in Path("/boot").glob("vmlinuz*") if os.access(path, os.R_OK)]
    return max(kernels, key=lambda path: path.stat().st_mtime, default=None)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _slow(reason: str) -> str:
    return f"guests run in software emulation (TCG), 3 to 10 times slower than with KVM: {reason}"
