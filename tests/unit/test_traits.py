"""What follows from a driver's record of itself are traits that every OpenStack cloud knows."""

import pytest

from kilonova.model.traits import CUSTOM, DISABLED, implied, standard_traits


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64", "ppc64le", "s390x", "mipsel", "AARCH64"])
@pytest.mark.parametrize("hypervisor", ["QEMU", "fake"])
def test_implied_traits_are_standard(hypervisor: str, architecture: str) -> None:
    found = implied(hypervisor, {"architecture": architecture})
    assert found <= standard_traits()
    assert f"HW_ARCH_{architecture.upper()}" in found
    assert ("COMPUTE_STORAGE_BUS_VIRTIO" in found) == (hypervisor == "QEMU")


@pytest.mark.parametrize("capabilities", [{}, {"architecture": "vax"}, {"architecture": None}])
def test_what_nobody_knows_implies_nothing(capabilities: dict[str, object]) -> None:
    assert not any("ARCH" in name for name in implied("fake", capabilities))


def test_ones_own_names_are_never_standard() -> None:
    assert DISABLED in standard_traits()
    assert not any(name.startswith(CUSTOM) for name in standard_traits())
