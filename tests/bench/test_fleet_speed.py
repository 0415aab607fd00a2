"""How fast a fleet is found: a thousand buckets on twenty platforms.

Run with ``pytest tests/bench --benchmark-enable``; nothing here asserts a time.
"""

import numpy as np
import pytest

import genz
from genz.serve.capacity import capacity

PLATFORMS = [
    "a100_pcie_1", "a100_sxm_1", "a10_1", "a10g_1", "a30_1", "a40_1", "a6000_1", "b200_1", "gaudi3_1", "gh200_1",
    "h100_pcie_1", "h100_sxm_1", "h200_sxm_1", "l20_1", "l40s_1", "l4_1", "mi300x_1", "rtx_3090_1", "rtx_4090_1",
    "rtx_pro_6000_1",
]  # fmt: skip


def requests(n_prompt, n_output, rate):
    workload = genz.Workload(
        prompt=genz.Lengths(mean=900.0, std=1200.0), output=genz.Lengths(mean=250.0, std=250.0)
    )
    return genz.Load.of_workload(workload, rate, n_prompt=n_prompt, n_output=n_output)


def test_own_throughput(benchmark, full, note):
    """The greatest rate within limits of each bucket on each platform, without the programme."""
    load = requests(*((40, 25) if full else (4, 3)), 50.0)
    work = genz.Workload(
        prompt=genz.Lengths(mean=load.prompt[:, None]),
        output=genz.Lengths(mean=load.output[:, None]),
    )
    case = (
        genz.model("llama3_1_8b"), genz.stack_platforms(PLATFORMS), work,
        genz.Objective(ttft=2.0, tpot=0.05),
    )  # fmt: skip
    found = benchmark.pedantic(
        capacity, case, {"engine": genz.engine("vllm_0_19")}, rounds=3 if full else 1
    )
    assert (found.rate >= 0.0).all()
    if full:
        note(
            f"{found.rate.size} cases, {found.rate.size / benchmark.stats.stats.median:.0f} per second"
        )


@pytest.mark.parametrize("rate", [5.0, 50.0, 500.0])
def test_fleet_from_own_throughput(benchmark, full, note, rate):
    """Throughput of each bucket on each platform, then the programme."""
    load = requests(*((40, 25) if full else (4, 3)), rate)
    options = {
        "model": "llama3_1_8b", "objective": genz.Objective(ttft=2.0, tpot=0.05),
        "parallel": genz.Parallel(), "prices": {"a30_1": 0.5, "gaudi3_1": 1.5, "l20_1": 0.5},
    }  # fmt: skip
    found = benchmark.pedantic(genz.fleet, (load, PLATFORMS), options, rounds=3 if full else 1)
    assert found.found
    if full:
        proof = found.certificate
        note(
            f"{load.n_bucket} buckets, {len(PLATFORMS)} platforms: {proof.status}, gap {proof.gap:.1g}"
        )


@pytest.mark.parametrize("total", [5.0, 50.0, 500.0])
def test_fleet_from_a_table_without_structure(benchmark, full, note, total):
    """Worst case: random throughput, so that each bucket prefers another platform; ``total`` replicas' worth of load."""
    n_row, n_kind = (1000, 20) if full else (20, 4)
    draw = np.random.default_rng(0)
    price = draw.uniform(0.5, 10.0, n_kind)
    rate = price * np.exp(draw.normal(0.0, 0.5, (n_row, n_kind)))
    share = draw.dirichlet(np.full(n_row, 0.5)) * total
    load = genz.Load.of(np.arange(1, n_row + 1), 100, share * rate.max(axis=1))
    names = [f"p{j}" for j in range(n_kind)]
    options = {
        "throughput": rate[share * rate.max(axis=1) > 0],
        "prices": dict(zip(names, price, strict=True)),
    }
    found = benchmark.pedantic(genz.fleet, (load, names), options, rounds=1)
    assert found.found
    if full:
        proof = found.certificate
        note(f"{load.n_bucket} buckets, {n_kind} platforms: {proof.status}, gap {proof.gap:.1g}")
