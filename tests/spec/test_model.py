"""Weights of each part, worked out by hand on small shapes."""

import pytest

from genz.core.errors import InputError
from genz.spec.model import (
    Attention,
    Dense,
    Experts,
    LatentAttention,
    LayerGroup,
    LinearAttention,
    Model,
    StateSpace,
)

HEADS = {"n_head": 4, "n_kv_head": 2, "head_dim": 5}


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        # width 10: query 10x20, key 10x10, value 10x10, out 20x10
        ({}, 200 + 100 + 100 + 200),
        ({"qkv_bias": True}, 600 + 20 + 10 + 10),
        ({"out_bias": True}, 600 + 10),
        ({"query_key_norm": "head"}, 600 + 5 + 5),
        ({"query_key_norm": "full"}, 600 + 20 + 10),
        ({"output_gate": True}, 600 + 200),
        ({"sink": True}, 600 + 4),
        ({"value_is_key": True}, 600 - 100),
        # value heads of 3: value 10x6, out 12x10
        ({"value_dim": 3}, 200 + 100 + 60 + 120),
        # reads an earlier layer's cache: query and out only
        ({"shared_cache": True}, 200 + 200),
        ({"shared_cache": True, "query_key_norm": "head"}, 400 + 5),
        ({"shared_cache": True, "qkv_bias": True}, 400 + 20),
        # a window or a chunk has no weights
        ({"window": 3}, 600),
        ({"chunk": 3}, 600),
    ],
)
def test_attention(fields, count):
    assert Attention(**HEADS, **fields).n_parameter(10) == count


def test_multi_head_attention_is_four_square_matrices():
    assert Attention(n_head=4, n_kv_head=4, head_dim=3).n_parameter(12) == 4 * 12**2


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        # query down 10x6 and norm 6, up 6x(2*(4+3)); latent down 10x(5+3) and norm 5,
        # up 5x(2*(4+2)); out 2*2x10
        ({"query_rank": 6}, 60 + 6 + 84 + 80 + 5 + 60 + 40),
        # full query 10x14
        ({"query_rank": None}, 140 + 80 + 5 + 60 + 40),
        ({"query_rank": 6, "qkv_bias": True}, 335 + 6 + 8),
        # index: query 6x(3*4), key 10x4, weights 10x3, norm of the key with shift 2x4
        ({"query_rank": 6, "n_index_head": 3, "index_dim": 4, "index_top": 9}, 335 + 72 + 40 + 30 + 8),
    ],
)  # fmt: skip
def test_latent_attention(fields, count):
    mixer = LatentAttention(n_head=2, kv_rank=5, nope_dim=4, rope_dim=3, value_dim=2, **fields)
    assert mixer.n_parameter(10) == count


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        # in 10x40, out 20x10, convolution 20x4 + 20, maps 20x(3+2*2), step 3x20 + 20,
        # decay 20x2, skip 20
        ({"version": 1, "step_rank": 3}, 400 + 200 + 100 + 140 + 80 + 40 + 20),
        ({"version": 1, "step_rank": 3, "convolution_bias": False}, 980 - 20),
        ({"version": 1, "step_rank": 3, "inner_norm": True}, 980 + 3 + 2 + 2),
        ({"version": 1, "step_rank": 3, "projection_bias": True}, 980 + 40 + 10),
        # in 10x(40 + 2*2*2 + 4), out 20x10, convolution (20+8)x4 + 28, step, decay, skip 3x4
        ({"version": 2, "n_head": 4, "n_group": 2}, 520 + 200 + 140 + 12),
        ({"version": 2, "n_head": 4, "n_group": 2, "inner_norm": True}, 872 + 20),
    ],
)
def test_state_space(fields, count):
    assert StateSpace(inner=20, state=2, convolution=4, **fields).n_parameter(10) == count


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        # keys 2x3, values 4x5: query 10x6, key 10x6, value 10x20, gate 10x20, decay and strength
        # 10x4 each, out 20x10; convolution (6+6+20)x4; decay and step bias 4 each, norm 5
        ({"variant": "gated_delta", "convolution": 4}, 60 + 60 + 200 + 200 + 80 + 200 + 128 + 8 + 5),
        # no decay and strength, no convolution; norm of all values
        ({"variant": "lightning"}, 60 + 60 + 200 + 200 + 200 + 20),
        # decays of 4x3 channels from rank 7, strength 10x4, gate from rank 6; biases 12, decay 4, norm 5
        ({"variant": "kimi_delta", "decay_rank": 7, "gate_rank": 6},
         60 + 60 + 200 + (10 * 7 + 7 * 12) + 40 + (10 * 6 + 6 * 20) + 200 + 12 + 4 + 5),
        ({"variant": "kimi_delta", "decay_rank": 7}, 735 + 200),
    ],
)  # fmt: skip
def test_linear_attention(fields, count):
    mixer = LinearAttention(n_key_head=2, n_value_head=4, key_dim=3, value_dim=5, **fields)
    assert mixer.n_parameter(10) == count


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({}, 3 * 10 * 30),
        ({"gated": False}, 2 * 10 * 30),
        ({"bias": True}, 900 + 30 + 30 + 10),
        ({"gated": False, "bias": True}, 600 + 30 + 10),
    ],
)
def test_dense(fields, count):
    assert Dense(width=30, **fields).n_parameter(10) == count


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        # four experts of three matrices 10x6, router 4x10
        ({}, 4 * 180 + 40),
        ({"gated": False}, 4 * 120 + 40),
        ({"bias": True}, 4 * (180 + 6 + 6 + 10) + 40),
        ({"router_bias": True}, 760 + 4),
        ({"shared_width": 8}, 760 + 3 * 10 * 8),
        ({"shared_width": 8, "shared_gate": True}, 760 + 240 + 10),
    ],
)
def test_experts(fields, count):
    assert Experts(n_expert=4, n_active=2, width=6, **fields).n_parameter(10) == count


def test_model_is_embedding_layers_and_head(tiny):
    attention, dense = Attention(**HEADS), Dense(width=30)
    layer = 600 + 900 + 2 * 10
    model = tiny(attention, dense, count=3, width=10, vocabulary=50)
    assert model.n_parameter == 500 + 3 * layer + 10 + 500
    assert model.replace(tied_embedding=True).n_parameter == 500 + 3 * layer + 10
    assert model.replace(norm="layer").n_parameter == 500 + 3 * (layer + 20) + 20 + 500
    assert model.replace(norm="none").n_parameter == 500 + 3 * 1500 + 500
    assert model.replace(final_norm=False).n_parameter == 500 + 3 * layer + 500
    assert model.replace(head_bias=True).n_parameter == 500 + 3 * layer + 10 + 550
    assert model.replace(n_position=7).n_parameter == 570 + 3 * layer + 10 + 500
    assert model.replace(embedding_norm=True).n_parameter == 510 + 3 * layer + 10 + 500
    # narrow embedding: two tables 50x4, projections 4x10 in and out
    assert model.replace(embedding_width=4).n_parameter == 200 + 80 + 3 * layer + 10 + 200


def test_a_layer_may_lack_a_part_or_have_more_norms(tiny):
    group = LayerGroup(count=2, mixer=Attention(**HEADS), n_norm=1, other_parameter=3)
    model = tiny(None, None, width=10, vocabulary=1).replace(groups=(group,))
    assert model.n_parameter == 10 + 2 * (600 + 10 + 3) + 10 + 10


def test_active_weights_leave_out_the_experts_not_chosen(tiny):
    model = tiny(None, Experts(n_expert=4, n_active=1, width=6), count=2, width=10, vocabulary=1)
    assert model.n_parameter - model.n_active_parameter == 2 * 3 * 180
    assert tiny(None, Dense(width=6)).n_active_parameter == tiny(None, Dense(width=6)).n_parameter


def test_trap_06_counts_of_mixture_models_are_the_published_ones(mixtral, deepseek_v3):
    # 46,702,792,704 weights: index of the checkpoint mistralai/Mixtral-8x7B-v0.1 (93,405,585,408 B
    # in bf16); 47B and 13B active: Mixtral of Experts (arXiv 2401.04088), abstract
    assert mixtral.n_parameter == 46_702_792_704
    assert mixtral.n_active_parameter == pytest.approx(13e9, rel=0.04)
    # 671B, 37B active: DeepSeek-V3 (arXiv 2412.19437), abstract
    assert deepseek_v3.n_parameter == pytest.approx(671e9, rel=0.001)
    assert deepseek_v3.n_active_parameter == pytest.approx(37e9, rel=0.02)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attention(n_head=6, n_kv_head=4, head_dim=2), "n_head must be a multiple of n_kv_head, got 6 and 4"),
        (lambda: Attention(n_head=4, n_kv_head=4, head_dim=2, window=3, chunk=4), "window and chunk exclude each other, got 3 and 4"),
        (lambda: LatentAttention(n_head=2, kv_rank=5, nope_dim=4, rope_dim=3, value_dim=2, n_index_head=2),
         "n_index_head, index_dim and index_top go together and need query_rank, got (2, 0, 0) and None"),
        (lambda: StateSpace(version=1, inner=2, state=2, convolution=4), "step_rank must be >= 1 for version 1, got 0"),
        (lambda: StateSpace(version=2, inner=2, state=2, convolution=4, n_head=1), "n_group must be >= 1 for version 2, got 0"),
        (lambda: StateSpace(version=3, inner=2, state=2, convolution=4), "version must be a whole number in [1, 2], got 3"),
        (lambda: Experts(n_expert=2, n_active=3, width=4), "n_active must be <= n_expert, got 3 of 2"),
        (lambda: Experts(n_expert=2, n_active=1, width=4, latent_norm=True), "latent_norm needs latent_width, got none"),
        (lambda: LinearAttention(variant="kimi_delta", n_key_head=1, n_value_head=1, key_dim=2, value_dim=2),
         "decay_rank must be >= 1 for variant kimi_delta, got 0"),
        (lambda: LinearAttention(variant="lightning", n_key_head=1, n_value_head=1, key_dim=2, value_dim=2, decay_rank=3),
         "decay_rank must be 0 for variant lightning, got 3"),
        (lambda: Model(name="m", family="f", width=4, vocabulary=4, groups=(LayerGroup(count=1),), n_stream=2, residual_block=3),
         "residual_block needs one residual stream, got n_stream 2"),
        (lambda: LayerGroup(count=2, positions=(0, 0)), "positions must be 2 distinct layers, got 2"),
        (lambda: LayerGroup(count=2, positions=(0,)), "positions must be 2 distinct layers, got 1"),
        (lambda: LayerGroup(count=1, mixer=Dense(width=1)), None),
    ],
)  # fmt: skip
def test_shapes_that_cannot_be_are_refused(make, message):
    with pytest.raises(InputError) as caught:
        make()
    if message is not None:
        assert str(caught.value) == message
    else:
        assert str(caught.value).startswith(
            "mixer must be a Attention or LatentAttention or CompressedAttention or StateSpace or LinearAttention, got "
        )


def test_layers_are_placed_once(tiny):
    model = tiny(None, Dense(width=6))
    first, second = LayerGroup(count=2, positions=(0, 2)), LayerGroup(count=1, positions=(1,))
    assert model.replace(groups=(first, second)).n_layer == 3
    message = r"^positions must place each of the 3 layers exactly once$"
    for groups in ((first, LayerGroup(count=1)), (first, LayerGroup(count=1, positions=(2,)))):
        with pytest.raises(InputError, match=message):
            model.replace(groups=groups)
    with pytest.raises(
        InputError, match=r"^groups must hold at least one group of layers, got none$"
    ):
        model.replace(groups=())
    assert isinstance(model, Model)


def test_one_sum_needs_both_parts():
    mixer = Attention(n_head=2, n_kv_head=1, head_dim=4)
    with pytest.raises(
        InputError, match=r"^one_sum needs a mixer and a feed-forward part, got only one of them$"
    ):
        LayerGroup(count=1, mixer=mixer, one_sum=True)
