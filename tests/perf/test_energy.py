"""Energy and rent by hand."""

import numpy as np
import pytest

from genz.perf.energy import energy, idle_power, rent

NOTHING = {"compute": 0.0, "memory": 0.0, "link": 0.0}


def test_idle_accelerators_draw_idle_power(cluster):
    # 100 W and 50 W of host, three of them, two seconds
    assert idle_power(cluster) == 150.0
    assert energy(cluster, n_accelerator=3, time=2.0, **NOTHING) == 3 * 2 * 150


def test_full_use_of_everything_is_the_design_power(cluster):
    busy = dict.fromkeys(NOTHING, 3 * 2.0)
    assert energy(cluster, n_accelerator=3, time=2.0, **busy) == pytest.approx(3 * 2 * (400 + 50))


def test_trap_12_idle_share_is_30_percent_not_30(cluster):
    # GenZ (arXiv 2406.01698), power model: 30 % static, 40 % compute, 20 % memory, 10 % network
    plain = cluster.replace(idle_power=None, host_power=0.0)
    assert idle_power(plain) == pytest.approx(0.30 * 400)
    for name, share in (("compute", 0.40), ("memory", 0.20), ("link", 0.10)):
        found = energy(plain, n_accelerator=1, time=1.0, **(NOTHING | {name: 1.0}))
        assert found == pytest.approx((0.30 + share) * 400)


def test_energy_is_elementwise(cluster):
    time = np.array([1.0, 2.0])
    found = energy(cluster, n_accelerator=np.array([[1.0], [4.0]]), time=time, **NOTHING)
    assert found.tolist() == [[150.0, 300.0], [600.0, 1200.0]]


def test_rent_is_price_times_hours(cluster):
    # 3.60 per hour: 0.001 per second
    assert rent(cluster, 8, 100.0) == pytest.approx(0.8)
    assert rent(cluster.replace(price=None), 8, 100.0) is None
    assert rent(cluster.replace(price=[3.6, 7.2]), 8, 100.0).tolist() == pytest.approx([0.8, 1.6])
