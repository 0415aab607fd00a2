"""Tensors of a model: none missing, none twice, cut as the operators cut them."""

import numpy as np
import pytest

from genz.db import registry
from genz.ops.forward import forward
from genz.ops.matrices import Degrees, first_matrices, last_matrices, layer_matrices
from genz.ops.site import Site
from genz.ops.stream import Stream
from genz.spec.deployment import Parallel, Routing
from genz.spec.precision import Precision

ONE = np.ones(())
#: Operators that hold the weights of several tensors, or of tensors under other names.
MERGED = {
    "qkv": ("q", "k", "v"), "out": ("o", "out"), "gate_up": ("gate", "up"),
    "shared_gate_up": ("shared_gate", "shared_up"),
    "latent_down": ("q_down", "kv_down"), "query": ("q",), "query_up": ("q_up",), "latent_up": ("kv_up",),
    "index_query": ("index_q",), "index_key": ("index_k", "index_weight"),
    "in": (
        "in", "in_maps", "in_step", "in_qk", "in_v", "in_z", "in_gates", "in_strength", "decay_down",
        "output_gate_down",
    ),
    "decay": ("decay_up",),
}  # fmt: skip


@pytest.mark.parametrize("name", registry.list_models())
def test_tensors_hold_every_weight_once(name):
    model = registry.model(name)
    for group in model.groups:
        found = sum(m.n_parameter for m in layer_matrices(model, group))
        assert found == model.layer_parameter(group)
    assert sum(m.n_parameter for m in first_matrices(model)) == model.embedding_parameter
    head = sum(m.n_parameter for m in last_matrices(model))
    shared = model.vocabulary * (model.embedding_width or model.width)
    assert head - (shared if model.tied_embedding else 0) == model.head_parameter


@pytest.mark.parametrize("kind", [
    "mha", "gqa", "mqa", "latent", "indexed", "mamba_1", "mamba_2", "delta", "lightning",
    "channels", "full_gate", "plain_latent", "blocks", "experts", "shared", "hybrid",
])  # fmt: skip
@pytest.mark.parametrize("tensor", [1, 2, 4, 8])
def test_products_of_the_operators_have_these_weights(zoo, kind, tensor):
    """The linear layers of a forward pass are the same matrices, rank by rank."""
    model = zoo[kind]
    at = Degrees.of(Parallel(tensor=tensor))
    stream = Stream("decode", ONE, ONE, 10.0 * ONE, ONE, 10.0 * ONE, ONE)
    site = Site(model, Precision(), Routing(), None, (stream,), float(tensor) * ONE, ONE, ONE, ONE, causal_skip=True)  # fmt: skip
    for index, group in enumerate(model.groups):
        table = {m.name: m for m in layer_matrices(model, group)}
        for operator in forward(site).operators:
            if operator.group != index or operator.kernel != "gemm":
                continue
            parts = [table[n] for n in MERGED.get(operator.name, (operator.name,)) if n in table]
            held = [m.local(at) for m in parts]
            assert operator.weight == 2 * sum(inner * outer for inner, outer, _ in held), (
                operator.name
            )


def test_shards_are_the_largest_and_say_whether_they_are_even(tiny):
    from genz.spec.model import Attention, Experts

    model = tiny(
        Attention(n_head=6, n_kv_head=2, head_dim=16), Experts(n_expert=6, n_active=2, width=50)
    )
    table = {m.name: m for m in layer_matrices(model, model.groups[0])}
    at = Degrees.of(Parallel(tensor=[1, 2, 4]))
    inner, outer, copies = table["q"].local(at)
    assert (inner, copies) == (64, 1)
    assert outer.tolist() == [96, 48, 32]  # 6, 3 and 2 heads of 16
    assert table["q"].even(at).tolist() == [True, True, False]
    assert table["k"].even(at).tolist() == [True, True, True]  # 2 heads, replicated on 4 ranks
    assert table["o"].local(at)[0].tolist() == [96, 48, 32]
    groups = Degrees.of(Parallel(tensor=4, expert=[1, 2, 4]))
    inner, _, copies = table["expert_down"].local(groups)
    assert inner.tolist() == [13, 25, 50]
    assert copies.tolist() == [6, 3, 2]
    assert table["expert_down"].even(groups).tolist() == [False, True, True]
    assert table["router"].local(groups)[:2] == (64, 6)
    assert [table[n].linear for n in ("q", "expert_up", "router", "norms")] == [
        True,
        True,
        False,
        False,
    ]
