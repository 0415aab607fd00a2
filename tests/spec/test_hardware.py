"""Accelerators, networks and platforms: rules and replace."""

import numpy as np
import pytest

import genz
from genz.core.errors import InputError, UnknownNameError, UnsupportedFormatError


def test_peak_of_a_format(device):
    assert device.peak("bf16") == 100e12
    with pytest.raises(UnsupportedFormatError) as caught:
        device.peak("int8")
    assert str(caught.value) == "device has no matrix unit for int8; it has bf16, fp8"
    assert isinstance(caught.value, UnknownNameError)
    assert caught.value.known == ("bf16", "fp8")


def test_peaks_have_known_formats(device):
    with pytest.raises(
        UnknownNameError, match=r"^no number format of peak_flop_rate named 'float8'"
    ):
        device.replace(peak_flop_rate={"float8": 1e15})
    with pytest.raises(
        InputError, match=r"^peak_flop_rate.bf16 must be in \[1e\+06, 1e\+21\] flop/s, got 1$"
    ):
        device.replace(peak_flop_rate={"bf16": 1})


@pytest.mark.parametrize("name", ["slow_capacity", "slow_bandwidth"])
def test_a_slow_tier_is_whole_or_absent(device, name):
    with pytest.raises(InputError, match=r"^slow_capacity and slow_bandwidth go together"):
        device.replace(**{name: 1e11})
    assert device.replace(slow_capacity=1e12, slow_bandwidth=1e11).slow_bandwidth == 1e11


def test_new_capacity_is_all_usable(device):
    seen = device.replace(usable_capacity=90e9)
    assert seen.replace(power=300.0).usable_capacity == 90e9
    assert seen.replace(memory_capacity=200e9).usable_capacity is None
    assert seen.replace(memory_capacity=200e9, usable_capacity=190e9).usable_capacity == 190e9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"memory_bandwidth": 2000}, "memory_bandwidth must be in [1e+09, 1e+18] B/s, got 2000"),
        ({"memory_bandwidth": [1e12, 0.0]}, "memory_bandwidth must be in [1e+09, 1e+18] B/s, got 0 at index (1,)"),
        ({"memory_bandwith": 2e12}, "Platform has no field 'memory_bandwith'; did you mean 'memory_bandwidth'"),
        ({"link_bandwith": 2e12}, "Platform has no field 'link_bandwith'; did you mean 'link_bandwidth'"),
        ({"power": -1}, "power must be in [1, 1e+06] W, got -1"),
        ({"link_latency": 2.0}, "latency must be in [0, 1] s, got 2"),
        ({"link_bandwidth": np.nan}, "bandwidth must be a number, got nan"),
        ({"accelerators_per_node": 0}, "accelerators_per_node must be a whole number >= 1, got 0"),
    ],
)  # fmt: skip
def test_replace_says_what_is_wrong(cluster, change, message):
    with pytest.raises(InputError) as caught:
        cluster.replace(**change)
    assert str(caught.value).startswith(message)


def test_replace_reaches_the_accelerator(cluster):
    faster = cluster.replace(memory_bandwidth=2e12, memory_capacity=200e9, price=5.0)
    assert faster.accelerator.memory_bandwidth == 2e12
    assert faster.accelerator.memory_capacity == 200e9
    assert faster.price == 5.0
    assert (cluster.accelerator.memory_bandwidth, cluster.price) == (1e12, 3.6)


def test_fields_of_both_are_those_of_the_platform(cluster):
    changed = cluster.replace(name="b", host_bandwidth=60e9)
    assert (changed.name, changed.host_bandwidth) == ("b", 60e9)
    assert (changed.accelerator.name, changed.accelerator.host_bandwidth) == ("device", 50e9)


def test_link_fields_change_the_innermost_dimension(cluster):
    faster = cluster.replace(link_bandwidth=200e9, link_latency=[1e-6, 2e-6])
    assert faster.network[0].bandwidth == 200e9
    assert faster.network[0].latency.tolist() == [1e-6, 2e-6]
    assert faster.network[1] == cluster.network[1]
    with pytest.raises(
        InputError, match=r"^cluster has no network, so link_bandwidth cannot be replaced$"
    ):
        cluster.replace(network=(), link_bandwidth=1e9)


def test_replaced_accelerator_takes_further_changes(cluster, device):
    both = cluster.replace(accelerator=device.replace(power=500.0), memory_bandwidth=3e12)
    assert (both.accelerator.power, both.accelerator.memory_bandwidth) == (500.0, 3e12)


def test_accelerators_of_a_platform_are_the_product_of_its_network(cluster):
    assert cluster.n_accelerator == 64
    assert cluster.replace(network=()).n_accelerator == 1
    wide = cluster.network[0].replace(size=[2, 4])
    assert cluster.replace(network=(wide, cluster.network[1])).n_accelerator.tolist() == [16, 32]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"topology": "star"}, "topology must be one of switch, full, ring, bus, got 'star'"),
        ({"size": 0}, "size must be a whole number >= 1, got 0"),
        ({"efficiency": 1.5}, "efficiency must be in [0.001, 1], got 1.5"),
        ({"reduction": "yes"}, "reduction must be true or false, got 'yes'"),
    ],
)
def test_network_has_rules(cluster, change, message):
    with pytest.raises(InputError) as caught:
        cluster.network[0].replace(**change)
    assert str(caught.value) == message


def test_a_stack_of_one_platform_may_be_named_alone():
    one, many = genz.stack_platforms("h100_sxm_1"), genz.stack_platforms(["h100_sxm_1"])
    assert one.name == many.name == "h100_sxm_1"
    assert one.accelerator.memory_bandwidth.shape == (1,)
