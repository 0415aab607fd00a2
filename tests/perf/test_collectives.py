"""Collectives by hand, and the fastest of all algorithms by trying them all."""

import dataclasses
import itertools
from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genz
from genz.ops.work import Message, Routed
from genz.perf import collectives
from genz.perf.collectives import (
    collective_time,
    link_share,
    message_time,
    split_ranks,
)
from genz.perf.network_error import message_error
from genz.perf.protocols import NETWORK_ERROR, library_error
from genz.spec.hardware import Collective, Exchange, Network

MODEST = settings(max_examples=50, deadline=None)
SWITCH = Network(name="a", size=8, topology="switch", bandwidth=100e9, latency=1e-6)
ALPHA, BETA = 1e-6, 100e9


@pytest.mark.parametrize(
    ("name", "n_rank", "by_hand"),
    [
        # 8 MB at 100 GB/s: 80 us
        ("ring_all_reduce_time", 4, 6e-6 + 6 / 4 * 80e-6),
        ("ring_all_reduce_time", 8, 14e-6 + 14 / 8 * 80e-6),
        ("tree_all_reduce_time", 2, 2e-6 + 160e-6),
        ("tree_all_reduce_time", 8, 6e-6 + 160e-6),
        ("tree_all_reduce_time", 5, 6e-6 + 160e-6),
        ("one_shot_all_reduce_time", 4, 1e-6 + 240e-6),
        ("two_shot_all_reduce_time", 4, 2e-6 + 6 / 4 * 80e-6),
        ("in_switch_all_reduce_time", 4, 2e-6 + 80e-6),
        ("ring_all_gather_time", 4, 3e-6 + 60e-6),
        ("direct_all_gather_time", 4, 1e-6 + 60e-6),
        ("direct_all_to_all_time", 4, 1e-6 + 60e-6),
        ("ring_all_to_all_time", 8, 7e-6 + 2 * 70e-6),
        ("ring_all_to_all_time", 2, 1e-6 + 40e-6),
        ("send_time", 2, 1e-6 + 80e-6),
    ],
)
def test_formula_by_hand(name, n_rank, by_hand):
    found = getattr(collectives, name)(8e6, n_rank, ALPHA, BETA)
    assert found == pytest.approx(by_hand, rel=1e-12)


MODELS = sorted(
    {model for kinds in collectives.ALGORITHMS.values() for model, _ in kinds.values()}
    | {collectives.in_switch_all_reduce_time},
    key=lambda model: model.__name__,
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_one_rank_costs_nothing(model):
    assert model(8e6, 1.0, ALPHA, BETA) == 0.0
    many = model(8e6, np.array([1.0, 2.0, 1.0]), ALPHA, BETA)
    assert many[0] == many[2] == 0.0 < many[1]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@MODEST
@given(
    size=st.floats(1.0, 1e10),
    n_rank=st.integers(2, 512),
    factor=st.floats(1.0, 10.0),
)
def test_slower_links_and_larger_buffers_are_never_faster(model, size, n_rank, factor):
    base = model(size, n_rank, ALPHA, BETA)
    assert model(size * factor, n_rank, ALPHA, BETA) >= base
    assert model(size, n_rank, ALPHA * factor, BETA) >= base
    assert model(size, n_rank, ALPHA, BETA * factor) <= base


def every_algorithm(collective, size, n, alpha, beta):
    """All that a cluster of any-to-any links could run, by formula."""
    share = (n - 1) / n * size / beta
    if collective == "all_reduce":
        return (
            2 * (n - 1) * alpha + 2 * share,  # ring
            2 * ceil(log2(n)) * alpha + 2 * size / beta,  # tree
            alpha + (n - 1) * size / beta,  # one shot
            2 * alpha + 2 * share,  # two shots
        )
    if collective == "all_to_all":
        return ((n - 1) * alpha + max(n / 4, 1) * share, alpha + share)
    return ((n - 1) * alpha + share, alpha + share)


@MODEST
@given(
    collective=st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]),
    size=st.floats(1.0, 1e10),
    n=st.integers(2, 64),
    alpha=st.floats(0.0, 1e-4),
)
def test_the_fastest_algorithm_is_taken(collective, size, n, alpha):
    switch = SWITCH.replace(size=64, latency=alpha)
    expected = min(every_algorithm(collective, size, n, alpha, BETA))
    found = collective_time(collective, size, n, switch)
    assert found == pytest.approx(expected, rel=1e-12)
    # a switch that reduces sends each buffer once
    reducing = collective_time(collective, size, n, switch.replace(reduction=True))
    if collective == "all_reduce":
        expected = min(expected, 2 * alpha + size / BETA)
    assert reducing == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("topology", ["ring", "bus"])
def test_neighbours_only_means_ring_algorithms(topology):
    place = SWITCH.replace(topology=topology)
    ring, tree, *_ = every_algorithm("all_reduce", 8e6, 8, ALPHA, BETA)
    expected = ring if topology == "ring" else min(ring, tree)
    assert collective_time("all_reduce", 8e6, 8, place) == pytest.approx(expected)
    assert collective_time("all_gather", 8e6, 8, place) == pytest.approx(7e-6 + 70e-6)
    assert collective_time("all_to_all", 8e6, 8, place) == pytest.approx(7e-6 + 2 * 70e-6)
    small_ring, small_tree, *_ = every_algorithm("all_reduce", 1.0, 8, ALPHA, BETA)
    assert small_tree < small_ring
    expected = small_ring if topology == "ring" else small_tree
    assert collective_time("all_reduce", 1.0, 8, place) == pytest.approx(expected)


def test_a_part_of_a_full_mesh_has_only_its_own_links():
    mesh = SWITCH.replace(topology="full")
    # 7 links of each: 1, 3 and 7 of them lead to the others of 2, 4 and 8 ranks
    share = link_share(mesh, np.array([2.0, 4.0, 8.0]), ideal=True)
    np.testing.assert_allclose(share, 100e9 * np.array([1, 3, 7]) / 7)
    assert collective_time("all_gather", 8e6, 4, mesh) == pytest.approx(1e-6 + 60e-6 * 7 / 3)


@pytest.mark.paper
def test_a_shared_bus_slows_with_the_square_of_its_ranks():
    # 20, 5.1 and 1.45 GB/s for 2, 4 and 8 L40S on PCIe: AIConfigurator, commit 095f58a
    bus = SWITCH.replace(topology="bus", bandwidth=25e9, efficiency=1.45 / 25)
    share = link_share(bus, np.array([2.0, 4.0, 8.0]), ideal=False)
    np.testing.assert_allclose(share, [20e9, 5.1e9, 1.45e9], rtol=0.16)
    assert (link_share(bus, np.array([2.0, 4.0, 8.0]), ideal=True) == 25e9).all()


def test_efficiency_counts_unless_ideal():
    slow = SWITCH.replace(efficiency=0.5)
    assert collective_time("all_gather", 8e6, 4, slow) == pytest.approx(1e-6 + 120e-6)
    assert collective_time("all_gather", 8e6, 4, slow, ideal=True) == pytest.approx(1e-6 + 60e-6)


def test_topologies_may_be_an_array():
    kinds = ["switch", "full", "ring", "bus"]
    many = SWITCH.replace(topology=np.array(kinds), reduction=np.array([True, False, False, False]))
    for collective, n, ideal in itertools.product(
        collectives.ALGORITHMS, (1, 2, 5, 8), (True, False)
    ):
        found = collective_time(collective, 8e6, n, many, ideal=ideal)
        each = [
            float(
                collective_time(
                    collective, 8e6, n,
                    SWITCH.replace(topology=kind, reduction=kind == "switch"), ideal=ideal,
                )
            )
            for kind in kinds
        ]  # fmt: skip
        np.testing.assert_array_equal(np.broadcast_to(found, 4), each)


INNER = SWITCH
OUTER = Network(name="b", size=16, topology="switch", bandwidth=10e9, latency=10e-6)


@pytest.mark.parametrize(
    ("n_rank", "stride", "parts"),
    [
        (1, 1, [1, 1]),
        (8, 1, [8, 1]),
        (16, 1, [8, 2]),
        (12, 1, [8, 2]),
        (4, 2, [4, 1]),
        (8, 2, [4, 2]),
        (8, 8, [1, 8]),
        (4, 16, [1, 4]),
        (3, 3, [2, 2]),
    ],
)
def test_ranks_are_split_over_dimensions(n_rank, stride, parts):
    assert [float(p) for p in split_ranks([INNER, OUTER], n_rank, stride)] == parts


@MODEST
@given(
    sizes=st.lists(st.integers(1, 16), min_size=1, max_size=3),
    n_rank=st.integers(1, 256),
    stride=st.integers(1, 64),
)
def test_split_ranks_hold_the_group(sizes, n_rank, stride):
    network = [INNER.replace(size=s) for s in sizes]
    parts = [float(p) for p in split_ranks(network, n_rank, stride)]
    assert np.prod(parts) >= n_rank
    assert all(p >= 1 for p in parts)
    assert all(p <= s for p, s in zip(parts[:-1], sizes[:-1], strict=True))


def message(collective, size, n_rank, stride=1.0):
    return Message("m", collective, 0, 1.0, size, np.asarray(n_rank, float), stride)


def test_hierarchical_all_reduce_by_hand():
    # 8 inside, 2 across, 8 MB. Scatter and gather inside: 2 (1 + 70) us; across, with shards of
    # 1 MB: 2 (10 + 50) us. Whole buffers: 2 + 140 us inside, 20 + 800 us or 10 + 800 us across.
    halves = 2 * (1e-6 + 70e-6) + 2 * (10e-6 + 50e-6)
    assert message_time(message("all_reduce", 8e6, 16), [INNER, OUTER]) == pytest.approx(halves)
    # of 8 B latency alone counts: one shot inside and one across
    small = message_time(message("all_reduce", 8.0, 16), [INNER, OUTER])
    assert small == pytest.approx(1e-6 + 10e-6, rel=1e-3)


def test_hierarchical_gather_and_exchange_by_hand():
    # inside 8 MB among 8, across 1 MB among 2
    gather = (1e-6 + 70e-6) + (10e-6 + 50e-6)
    assert message_time(message("all_gather", 8e6, 16), [INNER, OUTER]) == pytest.approx(gather)
    # half of the buffer stays inside: 1 + 35 us; half crosses: 10 + 400 us; at the same time
    exchange = message_time(message("all_to_all", 8e6, 16), [INNER, OUTER])
    assert exchange == pytest.approx(410e-6)


def test_a_group_inside_one_dimension_never_sees_the_other():
    for collective in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        alone = message_time(message(collective, 8e6, 8), [INNER])
        assert message_time(message(collective, 8e6, 8), [INNER, OUTER]) == alone
        across = message_time(message(collective, 8e6, 8, 8.0), [INNER, OUTER])
        assert across == collective_time(collective, 8e6, 8, OUTER)


def test_stages_send_over_the_links_between_them():
    # 4 stages of 4: two pairs inside a node of 8 and one across; mean of 3 hops
    inside, across = 1e-6 + 80e-6, 10e-6 + 800e-6
    found = message_time(message("send", 8e6, 4, 4.0), [INNER, OUTER])
    assert found == pytest.approx((2 * inside + across) / 3)
    found = message_time(message("send", 8e6, 4, 8.0), [INNER, OUTER])
    assert found == pytest.approx(across)
    found = message_time(message("send", 8e6, 4, 2.0), [INNER, OUTER])
    assert found == pytest.approx(inside)


@MODEST
@given(n_ranks=st.lists(st.integers(1, 128), min_size=1, max_size=6), size=st.floats(1.0, 1e9))
def test_scalars_are_elements_of_arrays_bit_for_bit(n_ranks, size):
    for collective in collectives.ALGORITHMS:
        many = message_time(message(collective, size, n_ranks), [INNER, OUTER])
        each = [
            float(np.max(message_time(message(collective, size, [n]), [INNER, OUTER])))
            for n in n_ranks
        ]
        np.testing.assert_array_equal(np.broadcast_to(many, len(n_ranks)), each)


# --- errors ---------------------------------------------------------------------------------------

OWN = Collective(
    start=2.0, efficiency=0.5, bulk_start=2.0, bulk_efficiency=0.5, limit=1e6, error=0.05
)
FITTED = SWITCH.replace(
    kernel={"all_reduce": {"nccl": OWN.replace(error=0.1, limit=np.inf), "vllm": OWN}}
)


def test_collectives_state_the_error_of_their_constants():
    """Those of a library hold up to its limit, NCCL's beyond, and what nobody fitted is off by the prior's."""
    size = np.array([1e3, 1e7])
    assert library_error("all_reduce", size, FITTED, "vllm").tolist() == [0.05, 0.1]
    assert library_error("all_reduce", size, FITTED, "sglang").tolist() == [0.1, 0.1]
    assert library_error("all_gather", size, FITTED, "vllm") == NETWORK_ERROR
    short = SWITCH.replace(kernel={"all_reduce": {"nccl": OWN}})
    assert library_error("all_reduce", size, short, "vllm").tolist() == [0.05, NETWORK_ERROR]
    ratio = collective_time("all_reduce", size, 4, FITTED, quantile=0.95) / collective_time(
        "all_reduce", size, 4, FITTED
    )
    np.testing.assert_allclose(ratio, np.exp(1.6448536 * np.array([0.05, 0.1])), rtol=1e-6)
    bound = collective_time("all_reduce", size, 4, FITTED, ideal=True)
    again = collective_time("all_reduce", size, 4, FITTED, ideal=True, quantile=0.95)
    assert again.tolist() == bound.tolist()


def test_messages_over_several_dimensions_state_the_larger_error():
    outer = SWITCH.replace(name="b")
    sizes = np.array([1.0, 8.0, 16.0])
    message = Message("m", "all_reduce", 0, 1.0, 1e3, sizes)
    assert message_error(message, (FITTED, outer), "vllm").tolist() == [0.0, 0.05, NETWORK_ERROR]
    gathered = Message("m", "all_gather", 0, 1.0, 1e3, sizes)
    assert message_error(gathered, (FITTED,), "vllm").tolist() == [
        0.0,
        NETWORK_ERROR,
        NETWORK_ERROR,
    ]


def test_exchanges_state_the_error_of_their_kernels():
    """Inside a node those there; across nodes the larger; as a collective that of one."""
    own = Exchange(start=1.0, core=20, core_bandwidth=1e10, efficiency=0.9, error=0.06)
    inner = SWITCH.replace(exchange={"normal": {"dispatch": own}})
    outer = SWITCH.replace(exchange={"normal": {"dispatch": own.replace(error=0.09)}})
    ranks = np.array([1.0, 8.0, 16.0])
    tokens = Routed(128, 7168, 8, 256, 8, "normal")
    message = Message("m", "dispatch", 0, 1.0, 1e6, ranks, routed=tokens)
    assert message_error(message, (inner, outer), "vllm").tolist() == [0.0, 0.06, 0.09]
    plain = Message(
        "m", "all_to_all", 0, 1.0, 1e6, ranks, routed=dataclasses.replace(tokens, kernels="")
    )
    found = message_error(plain, (inner, outer), "vllm").tolist()
    assert found == [0.0, NETWORK_ERROR, NETWORK_ERROR]


def test_steps_take_the_error_of_their_collectives():
    """With a network slow enough to be the whole step, its error is that of the step."""
    platform = genz.platform("h100_sxm_8")
    slow = platform.network[0].replace(
        bandwidth=1e6, kernel={"all_reduce": {"nccl": OWN.replace(error=0.07, limit=np.inf)},
                               "all_gather": {"nccl": OWN.replace(error=0.07, limit=np.inf)}},
    )  # fmt: skip
    layout = {"parallel": genz.Parallel(tensor=8), "context": 100, "batch": 64}
    step = genz.decode("llama3_1_8b", platform.replace(network=(slow,)), **layout)
    assert step.network_time / step.time > 0.99
    assert step.log_error == pytest.approx(0.07, rel=0.02)
