"""The shards of a layout together do the work of one accelerator, where degrees divide."""

import pytest

from genz.spec.deployment import Parallel, Routing
from genz.spec.model import Attention, Dense, Experts

BALANCED = Routing(case="balanced")
ALL = [
    "mha", "gqa", "mqa", "window", "chunk", "latent", "indexed", "mamba_1", "mamba_2", "delta",
    "lightning", "experts", "shared", "hybrid",
]  # fmt: skip
#: Replicated on every tensor rank: the small matrices that are not cut.
WHOLE = {"router", "latent_down", "index_query", "index_key", "index", "step", "maps"}


def cut(operator):
    return operator.kernel != "elementwise" and operator.name not in WHOLE


#: Key heads, where they are fewer than ranks: each rank then holds a copy.
KEY_HEADS = {
    "gqa": 2,
    "mqa": 1,
    "window": 4,
    "chunk": 4,
    "delta": 4,
    "experts": 2,
    "shared": 2,
    "hybrid": 2,
}
DIVIDING = [(n, t) for n in ALL for t in (2, 4, 8) if t <= KEY_HEADS.get(n, 8)]


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_tensor_of_one_is_the_unsharded_model(zoo, decode_of, prefill_of, sum_of, name, phase):
    def make(**options):
        if phase == "decode":
            return decode_of(zoo[name], batch=3, context=9, **options)
        return prefill_of(zoo[name], batch=3, prompt=9, **options)

    plain, one = make(), make(parallel=Parallel(tensor=1, data=1, sequence=1, expert=1))
    for field in ("flop", "weight", "cache", "activation"):
        assert sum_of(plain, field) == sum_of(one, field)
    assert all(m.n_rank.max() == 1 for m in plain.messages)


@pytest.mark.parametrize(("name", "tensor"), DIVIDING)
def test_tensor_shards_add_up(zoo, decode_of, prefill_of, sum_of, name, tensor):
    model = zoo[name]
    options = {"parallel": Parallel(tensor=tensor), "routing": BALANCED}
    for make, load in ((decode_of, {"context": 9}), (prefill_of, {"prompt": 9})):
        whole = make(model, batch=4, routing=BALANCED, **load)
        shard = make(model, batch=4, **load, **options)
        for field in ("flop", "weight"):
            expected = sum_of(whole, field, cut)
            assert tensor * sum_of(shard, field, cut) == pytest.approx(expected, rel=1e-12)
    if name not in ("latent", "indexed"):  # every rank reads the whole latent
        whole, shard = (
            sum_of(decode_of(model, batch=4, context=9, **o), "cache", cut) for o in ({}, options)
        )
        assert tensor * shard == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("name", ["mha", "gqa", "window", "experts", "shared", "hybrid"])
@pytest.mark.parametrize("data", [2, 4])
def test_data_groups_add_up(zoo, decode_of, prefill_of, sum_of, name, data):
    model, parallel = zoo[name], Parallel(data=data, expert=data)
    for make, load in ((decode_of, {"context": 9}), (prefill_of, {"prompt": 9})):
        whole = make(model, batch=8, routing=BALANCED, **load)
        group = make(model, batch=8 // data, parallel=parallel, routing=BALANCED, **load)
        for field in ("flop", "cache"):
            expected = sum_of(whole, field)
            assert data * sum_of(group, field) == pytest.approx(expected, rel=1e-12)
        routed = [sum_of(w, "weight", lambda o: o.name == "experts") for w in (whole, group)]
        assert data * routed[1] == pytest.approx(routed[0], rel=1e-12)


@pytest.mark.parametrize("name", ["mha", "gqa", "window", "chunk", "mamba_1", "delta"])
@pytest.mark.parametrize("sequence", [2, 4])
def test_sequence_shards_add_up(zoo, decode_of, prefill_of, sum_of, name, sequence):
    model, parallel = zoo[name], Parallel(sequence=sequence)

    def products(operator):
        return operator.kernel in ("gemm", "attention_prefill") and operator.name != "head"

    whole = prefill_of(model, batch=2, prompt=16)
    shard = prefill_of(model, batch=2, prompt=16, parallel=parallel)
    assert sequence * sum_of(shard, "flop", products) == sum_of(whole, "flop", products)
    # decode: each rank reads its part of the cache
    attention = [
        sum_of(decode_of(model, batch=2, context=15, **o), "cache", lambda o: o.name == "attention_decode")
        for o in ({}, {"parallel": parallel})
    ]  # fmt: skip
    assert sequence * attention[1] == attention[0]


@pytest.mark.parametrize(("tensor", "expert"), [(2, 2), (4, 4), (8, 8), (8, 2), (4, 1), (8, 4)])
def test_expert_shards_add_up(zoo, decode_of, operator_of, tensor, expert):
    model = zoo["experts"]
    parallel = Parallel(tensor=tensor, expert=expert)
    for batch in (4, 100):
        whole = operator_of(decode_of(model, batch=batch, routing=BALANCED), "experts")
        shard = operator_of(
            decode_of(model, batch=batch, routing=BALANCED, parallel=parallel), "experts"
        )
        assert tensor * shard.flop == pytest.approx(whole.flop, rel=1e-12)
        assert tensor * shard.weight == pytest.approx(whole.weight, rel=1e-12)


@pytest.mark.parametrize(
    ("n_head", "n_kv_head", "tensor", "query", "key_value"),
    [
        # ceil(28 / 8) = 4 query heads; 4 key-value heads on 8 ranks: one each, replicated
        (28, 4, 8, 4, 1),
        # ceil(32 / 3) = 11, ceil(8 / 3) = 3
        (32, 8, 3, 11, 3),
        (71, 1, 8, 9, 1),
        (40, 8, 8, 5, 1),
        (14, 2, 4, 4, 1),
        (8, 8, 8, 1, 1),
    ],
)
def test_trap_14_heads_that_do_not_divide_are_padded(
    tiny, decode_of, operator_of, n_head, n_kv_head, tensor, query, key_value
):
    model = tiny(Attention(n_head=n_head, n_kv_head=n_kv_head, head_dim=16), Dense(width=100))
    work = decode_of(model, context=9, parallel=Parallel(tensor=tensor))
    assert operator_of(work, "qkv").flop == 2 * 64 * 16 * (query + 2 * key_value)
    assert operator_of(work, "out").flop == 2 * 64 * 16 * query
    # ten keys, their own included
    assert operator_of(work, "attention_decode").flop == 2 * 10 * query * 32
    assert operator_of(work, "attention_decode").cache == 10 * key_value * 32 * 2
    inner = -(-100 // tensor)
    assert operator_of(work, "gate_up").flop == 2 * 64 * 2 * inner
    assert operator_of(work, "head", -2).flop == 2 * 64 * -(-96 // tensor)


def test_key_value_heads_are_replicated(zoo, decode_of, operator_of):
    # two key-value heads on eight ranks: each rank holds one, so four copies of each
    one, eight = (
        operator_of(
            decode_of(zoo["gqa"], context=9, parallel=Parallel(tensor=t)), "attention_decode"
        )
        for t in (1, 8)
    )
    assert 8 * eight.cache == 4 * one.cache
    assert 8 * eight.flop == one.flop


def test_busiest_group_has_the_hot_experts(zoo, decode_of, operator_of):
    model, parallel = zoo["experts"], Parallel(data=4, expert=4)
    worst = decode_of(model, batch=4, parallel=parallel, routing=Routing(case="worst"))
    # all 16 tokens choose the same two experts, on one rank: two matrices up, one down
    assert operator_of(worst, "experts").flop == 2 * 16 * 2 * 3 * 64 * 48
    assert operator_of(worst, "experts").weight == 2 * 2 * 3 * 64 * 48
    even = decode_of(model, batch=4, parallel=parallel, routing=BALANCED)
    assert operator_of(even, "experts").flop == 2 * (16 * 2 / 4) * 3 * 64 * 48


def test_busiest_of_eight_groups_reads_a_whole_expert(zoo, decode_of, operator_of):
    """One token with two experts on eight groups: two groups read one each, the others wait."""
    work = decode_of(zoo["experts"], parallel=Parallel(tensor=8, expert=8), routing=BALANCED)
    assert operator_of(work, "experts").weight == 2 * 3 * 64 * 48


def test_padding_never_makes_a_shard_cheaper_than_its_share(tiny, decode_of, sum_of):
    model = tiny(
        Attention(n_head=12, n_kv_head=4, head_dim=8), Experts(n_expert=6, n_active=2, width=50)
    )
    whole = decode_of(model, batch=3, context=20, routing=BALANCED)
    for tensor in range(1, 13):
        work = decode_of(
            model, batch=3, context=20, parallel=Parallel(tensor=tensor), routing=BALANCED
        )
        for field in ("flop", "weight", "cache"):
            assert tensor * sum_of(work, field) >= sum_of(whole, field) * (1 - 1e-12)


def test_arrays_of_layouts_are_elementwise(zoo, decode_of, sum_of):
    tensor = [1, 2, 4, 8]
    many = decode_of(zoo["shared"], batch=8, context=9, parallel=Parallel(tensor=tensor))
    for i, degree in enumerate(tensor):
        one = decode_of(zoo["shared"], batch=8, context=9, parallel=Parallel(tensor=degree))
        for a, b in zip(many.operators, one.operators, strict=True):
            for field in ("flop", "weight", "cache", "activation"):
                row = getattr(a, field)
                value = row if getattr(row, "size", 1) == 1 else row[i]
                assert value == getattr(b, field)
