"""The cache between prefill and decode: bytes, transfer, overlap, and fluid bounds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import genz
from genz.core.errors import InputError
from genz.core.unit import GIB
from genz.serve.disaggregation import (
    moved_bytes,
    overlapped_time,
    replicas_for_decode,
    replicas_for_prefill,
    transfer_time,
)


@pytest.mark.paper
def test_opt_66b_moves_what_distserve_says():
    # DistServe, section 3.3: 512 tokens of OPT-66B are 1.13 GB (GiB), 10 requests per second 90 Gb/s (Gib)
    size = float(moved_bytes(genz.model("opt_66b"), prompt=512, precision="fp16"))
    assert size / GIB == 1.125
    assert 10 * size * 8 / GIB == 90.0


@pytest.mark.paper
def test_bloom_moves_what_splitwise_says():
    model = genz.model("bloom_176b")
    one, many = moved_bytes(model, prompt=[1, 1500], precision="fp16")
    assert round(one / 1e6, 3) == 4.014
    assert round(many / 1e9, 2) == 6.02
    assert round(1e3 * float(transfer_time(many, 200e9 / 8))) == 241
    layer = float(transfer_time(many / model.n_layer, 200e9 / 8))
    assert (round(1e3 * layer, 1), round(1e3 * layer / 2, 1)) == (3.4, 1.7)


def test_a_window_moves_no_more_than_itself(zoo):
    model = zoo["window"]  # 2 layers of 4 key-value heads of 16, window 5, 2 bytes
    assert moved_bytes(model, prompt=[3, 5, 50]).tolist() == [
        2 * 2 * 4 * 16 * 2 * n for n in (3, 5, 5)
    ]


def test_states_move_whatever_the_prompt(zoo):
    few, many = moved_bytes(zoo["mamba_2"], prompt=[1, 1000])
    assert few == many > 0.0


def chain(transfer, prefill, n_piece, ready):
    """End of the last piece less the end of prefill, piece by piece."""
    link = transfer * ready
    for k in range(1, n_piece + 1):
        link = max(link, prefill * k / n_piece) + transfer * (1.0 - ready) / n_piece
    return link - prefill


@given(st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.integers(1, 90), st.floats(0.0, 1.0))
def test_overlap_is_the_chain_of_pieces(transfer, prefill, n_piece, ready):
    found = float(overlapped_time(transfer, prefill, n_piece, ready))
    expected = max(chain(transfer, prefill, n_piece, ready), transfer * ready - prefill)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_one_piece_is_serial_and_many_on_a_fast_link_are_the_last():
    assert float(overlapped_time(0.2, 1.0, 1)) == 0.2
    assert float(overlapped_time(0.2, 1.0, 80)) == pytest.approx(0.2 / 80)


@given(st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.integers(1, 90), st.floats(0.0, 1.0))
def test_overlap_is_never_slower_than_serial(transfer, prefill, n_piece, ready):
    assert overlapped_time(transfer, prefill, n_piece, ready) <= transfer + 1e-12


def test_latency_counts_for_each_message():
    assert float(transfer_time(1e9, 1e9, 1e-3, 10)) == pytest.approx(1.01)


def test_fluid_bounds_by_hand():
    assert float(replicas_for_prefill(10.0, 0.25)) == 2.5
    assert float(replicas_for_decode(10.0, 100.0, 0.05, 25.0)) == 2.0
    assert replicas_for_decode(np.array([1.0, 2.0]), 100.0, 0.05, 25.0).tolist() == [0.2, 0.4]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: moved_bytes(m, prompt=-1), "prompt must be >= 0 tokens, got -1"),
        (lambda _: transfer_time(1.0, 0.0), "bandwidth must be > 0 B/s, got 0"),
        (lambda _: transfer_time(-1.0, 1.0), "size must be >= 0 B, got -1"),
        (lambda _: overlapped_time(1.0, 1.0, 0), "n_piece must be a whole number >= 1, got 0"),
        (lambda _: overlapped_time(1.0, 1.0, 1, 2.0), r"ready must be in \[0, 1\], got 2"),
        (lambda _: replicas_for_prefill(-1.0, 1.0), "rate must be >= 0 1/s, got -1"),
        (lambda _: replicas_for_decode(1.0, 1.0, 1.0, 0.0), "batch must be > 0, got 0"),
    ],
)
def test_messages(zoo, call, text):
    with pytest.raises(InputError, match=text):
        call(zoo["mha"])
