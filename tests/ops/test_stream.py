"""Pairs, visible keys and kept tokens against masks made token by token."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genz.ops.stages import stage_layers
from genz.ops.stream import attended_pairs, cached_tokens, visible_keys
from genz.spec.model import Attention, LayerGroup

ONE = Attention(n_head=1, n_kv_head=1, head_dim=1)
BOUND = st.one_of(
    st.just({}),
    st.builds(lambda n: {"window": n}, st.integers(1, 12)),
    st.builds(lambda n: {"chunk": n}, st.integers(1, 12)),
)


def mask_of(new, cached, window=None, chunk=None):
    query = np.arange(cached, cached + new)[:, np.newaxis]
    key = np.arange(cached + new)
    mask = key <= query
    if window is not None:
        mask &= key > query - window
    if chunk is not None:
        mask &= key // chunk == query // chunk
    return mask


@settings(max_examples=50, deadline=None)
@given(bound=BOUND, new=st.integers(1, 30), cached=st.integers(0, 30))
def test_pairs_and_keys_are_those_of_the_mask(bound, new, cached):
    mixer = ONE.replace(**bound)
    mask = mask_of(new, cached, **bound)
    assert attended_pairs(mixer, new, cached) == mask.sum()
    assert visible_keys(mixer, new, cached) == mask.any(axis=0).sum()


@settings(max_examples=50, deadline=None)
@given(bound=BOUND, context=st.integers(0, 40))
def test_kept_tokens_are_enough_for_the_next_query(bound, context):
    mixer = ONE.replace(**bound)
    needed = mask_of(1, context, **bound)[0, :context].sum()
    kept = cached_tokens(mixer, context)
    assert needed <= kept <= context
    if "window" in bound:  # one page may hold a token that the next query no longer sees
        assert kept <= needed + 1


def test_by_hand():
    # queries 3, 4 and 5 (from 1) see all before them; with a window of 2 two each
    assert attended_pairs(ONE, 3, 2) == 3 + 4 + 5
    assert attended_pairs(ONE.replace(window=2), 3, 2) == 2 + 2 + 2
    # blocks of 4 tokens: the third and fourth see 3 and 4, the fifth opens a block
    assert attended_pairs(ONE.replace(chunk=4), 3, 2) == 3 + 4 + 1
    assert visible_keys(ONE.replace(chunk=4), 3, 2) == 5
    assert visible_keys(ONE.replace(window=2), 3, 2) == 4


def test_arrays_are_elementwise():
    new, cached = np.array([[1.0], [5.0], [30.0]]), np.array([0.0, 3.0, 40.0])
    for bound in ({}, {"window": 7}, {"chunk": 7}):
        mixer = ONE.replace(**bound)
        for function in (attended_pairs, visible_keys):
            found = function(mixer, new, cached)
            each = [[float(function(mixer, n, c)) for c in cached] for n in new[:, 0]]
            np.testing.assert_array_equal(found, each)


def test_trap_11_a_window_or_a_causal_mask_saves_work():
    full = attended_pairs(ONE, 8192, 0)
    assert full == 8192 * 8193 / 2
    assert attended_pairs(ONE.replace(window=1024), 8192, 0) == 1024 * 1025 / 2 + 7168 * 1024
    assert attended_pairs(ONE.replace(chunk=1024), 8192, 0) == 8 * 1024 * 1025 / 2


@pytest.mark.parametrize(
    ("n_stage", "first", "second"),
    [
        # layers in order: a a a b b b b
        (1, [3], [4]),
        (2, [3, 0], [1, 3]),
        (3, [3, 0, 0], [0, 2, 2]),
        (4, [2, 1, 0, 0], [0, 1, 2, 1]),
        (7, [1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]),
    ],
)
def test_stages_take_layers_in_order_and_evenly(tiny, n_stage, first, second):
    groups = (LayerGroup(count=3), LayerGroup(count=4))
    model = tiny(None, None).replace(groups=groups)
    assert stage_layers(model, n_stage).T.tolist() == [first, second]


def test_stages_follow_the_positions(tiny):
    # layers in order: b a a b a
    groups = (LayerGroup(count=3, positions=(1, 2, 4)), LayerGroup(count=2, positions=(0, 3)))
    model = tiny(None, None).replace(groups=groups)
    assert stage_layers(model, 2).tolist() == [[2, 1], [1, 1]]


def test_trap_04_28_layers_on_8_stages(tiny):
    model = tiny(None, None, count=28)
    assert stage_layers(model, 8)[:, 0].tolist() == [4, 4, 4, 4, 3, 3, 3, 3]
