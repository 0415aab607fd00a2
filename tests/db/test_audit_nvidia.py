"""The NVIDIA entries: dense peaks, one-direction links, a source for every value."""

import pytest

from genz.db import registry

ACCELERATORS = [n for n in registry.list_accelerators() if n.startswith("nvidia_")]
PLATFORMS = [
    n for n in registry.list_platforms() if registry.platform(n).accelerator.vendor == "NVIDIA"
]
HALF = {"volta": "fp16", "turing": "fp16"}
NOT_SOURCED = {"name", "vendor", "generation", "sources"}


def test_all_entries_are_there():
    assert len(ACCELERATORS) >= 31
    assert len(PLATFORMS) >= 47


@pytest.mark.parametrize("name", ACCELERATORS)
def test_peaks_are_dense_and_ratios_plausible(name):
    device = registry.accelerator(name)
    peak = device.peak_flop_rate
    half = peak[HALF.get(device.generation, "bf16")]
    assert 30 < half / device.memory_bandwidth < 1200
    assert ("fp8" in peak) == (device.generation not in {"volta", "turing", "ampere"})
    assert ("fp4" in peak) == device.generation.startswith(("blackwell", "rubin"))
    if "bf16" in peak:
        assert peak["bf16"] == peak["fp16"]
    if "fp8" in peak:
        # Rubin grew the units for 8 bits and fewer only: 17.5 and 4 Pflop/s on NVIDIA's page of the Vera Rubin NVL72
        narrow = 17.5 / 4.0 if device.generation == "rubin" else 2.0
        assert peak["fp8"] == pytest.approx(narrow * half, rel=0.02)
    if device.usable_capacity is not None:
        assert device.usable_capacity == pytest.approx(device.memory_capacity, rel=0.08)


@pytest.mark.parametrize("name", ACCELERATORS)
def test_every_value_has_a_source(name):
    device = registry.accelerator(name)
    fields = {k for k in device.__dataclass_fields__ if getattr(device, k) is not None}
    unless_zero = ("kernel", "partly", "limited", "serving_error")
    fields -= {name for name in unless_zero if not getattr(device, name)}
    covered = {field for source in device.sources for field in source.covers}
    assert covered == fields - NOT_SOURCED


@pytest.mark.parametrize("name", PLATFORMS)
def test_platform_agrees_with_its_accelerator_and_offers(name):
    platform = registry.platform(name)
    link = platform.accelerator.link_bandwidth
    if platform.network and platform.network[0].name.startswith("nvlink"):
        assert platform.network[0].bandwidth == link
    assert platform.host_bandwidth == platform.accelerator.host_bandwidth
    assert (platform.price is None) == (not platform.prices)
    if platform.prices:
        assert platform.price in [offer.price for offer in platform.prices]
