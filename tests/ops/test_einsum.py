"""A second count: a decoder layer written down as explicit contractions.

Every contraction costs two flop per combination of its indices; every matrix is read once. Masks are
made token by token, and the pairs that they leave are counted one by one.
"""

import itertools
from math import prod

import numpy as np
import pytest

from genz.spec.model import Attention, CompressedAttention, Dense, LatentAttention
from genz.spec.precision import Precision

BEAMS = 3


def mask_of(new, cached, window=None, chunk=None):
    """Which keys each new token sees, one row per query."""
    mask = np.zeros((new, cached + new), dtype=bool)
    for row, key in itertools.product(range(new), range(cached + new)):
        query = cached + row
        seen = key <= query
        if window is not None:
            seen = seen and query - key < window
        if chunk is not None:
            seen = seen and query // chunk == key // chunk
        mask[row, key] = seen
    return mask


class Ledger:
    """Counts flop and weights of contractions such as ``"bd,dw->bw"``."""

    def __init__(self, **sizes):
        self.sizes, self.flop, self.weight, self.cache = sizes, 0, 0, 0

    def contract(self, spec, *, weight=None, **sizes):
        names = set(spec.replace("->", ",").replace(",", ""))
        known = self.sizes | sizes
        self.flop += 2 * prod(known[name] for name in names)
        if weight is not None:
            operand = spec.split("->")[0].split(",")[1]
            self.weight += weight * prod(known[name] for name in operand)


def attention(ledger, mixer, batch, new, cached, beams, shared):
    """Grouped attention: k key heads, g queries for each, e and f wide."""
    mask = mask_of(new, cached, mixer.window, mixer.chunk)
    sizes = {
        "n": batch * beams * new,
        "k": mixer.n_kv_head,
        "g": mixer.n_head // mixer.n_kv_head,
        "e": mixer.head_dim,
        "f": mixer.value_width,
        "p": batch * beams * int(mask.sum()),  # pairs left by the mask
    }
    ledger.contract("nd,dkge->nkge", weight=2, **sizes)
    ledger.contract("nd,dke->nke", weight=2, **sizes)
    ledger.contract("nd,dkf->nkf", weight=2, **sizes)
    ledger.contract("pkge,pke->pkg", **sizes)
    ledger.contract("pkg,pkf->pkgf", **sizes)
    ledger.contract("nkgf,kgfd->nd", weight=2, **sizes)
    seen = mask.any(axis=0)
    # keys of the common prompt once, those of each beam by each beam
    read = int(seen[:shared].sum()) + beams * int(seen[shared:].sum())
    stored = beams * new
    ledger.cache += (
        2 * batch * (read + stored) * mixer.n_kv_head * (mixer.head_dim + mixer.value_width)
    )


def latent_attention(ledger, mixer, batch, new, cached, beams, shared, *, absorbed):
    """Naive: keys and values of every token are expanded. Absorbed: queries meet the latent."""
    pairs = int(mask_of(new, cached).sum())
    sizes = {
        "n": batch * beams * new,
        "s": batch * (cached + new),
        "p": batch * beams * pairs,
        "r": mixer.query_rank,
        "h": mixer.n_head,
        "c": mixer.kv_rank,
        "m": mixer.kv_rank + mixer.rope_dim,
        "e": mixer.nope_dim + mixer.rope_dim,
        "o": mixer.nope_dim,
        "f": mixer.value_dim,
    }
    ledger.contract("nd,dr->nr", weight=2, **sizes)
    ledger.contract("nr,rhe->nhe", weight=2, **sizes)
    ledger.contract("nd,dm->nm", weight=2, **sizes)
    if absorbed:
        ledger.contract("nho,cho->nhc", weight=2, **sizes)
        ledger.contract("phm,pm->ph", **sizes)
        ledger.contract("ph,pc->phc", **sizes)
        ledger.contract("nhc,chf->nhf", weight=2, **sizes)
        read = shared + beams * (cached - shared + new)
        ledger.cache += 2 * batch * read * (mixer.kv_rank + mixer.rope_dim)
    else:
        ledger.contract("sc,cho->sho", weight=2, **sizes)
        ledger.contract("sc,chf->shf", weight=2, **sizes)
        ledger.contract("phe,phe->ph", **sizes)
        ledger.contract("ph,phf->phf", **sizes)
    ledger.contract("nhf,hfd->nd", weight=2, **sizes)
    ledger.cache += 2 * batch * beams * new * (mixer.kv_rank + mixer.rope_dim)


def compressed_attention(ledger, mixer, batch, new, cached, beams, shared, *, prompt):
    """A window and compressed entries, one key for all heads; entries are made as tokens come, 1 / ratio of one for each."""
    near = mask_of(new, cached, mixer.window)
    seen = [(cached + row + 1) // mixer.ratio if mixer.ratio else 0 for row in range(new)]
    kept = [min(s, mixer.index_top) if mixer.n_index_head else s for s in seen]
    request = batch * beams
    sizes = {
        "n": request * new,
        "p": request * (int(near.sum()) + sum(kept)),
        "q": request * sum(seen),
        "r": mixer.query_rank,
        "g": mixer.n_out_group,
        "i": mixer.n_head // mixer.n_out_group,
        "h": mixer.n_head,
        "e": mixer.head_dim,
        "o": mixer.out_rank,
        "c": 2 * mixer.pooled + mixer.n_index_head,
        "j": mixer.n_index_head,
        "x": mixer.index_dim,
    }
    ledger.contract("nd,dr->nr", weight=2, **sizes)
    ledger.contract("nr,rhe->nhe", weight=2, **sizes)
    ledger.contract("nd,de->ne", weight=2, **sizes)
    ledger.contract("phe,pe->ph", **sizes)
    ledger.contract("ph,pe->phe", **sizes)
    ledger.contract("ngie,gieo->ngo", weight=2, **sizes)
    ledger.contract("ngo,god->nd", weight=2, **sizes)
    window = int(near.any(axis=0).sum())
    entries = seen[-1] if prompt else kept[-1]
    common = 0 if mixer.n_index_head or not mixer.ratio else min(shared // mixer.ratio, entries)
    read = window * beams + common + beams * (entries - common)
    ledger.cache += 2 * mixer.head_dim * (batch * read + request * new)
    if not mixer.ratio:
        return
    index = mixer.index_dim + 4 if mixer.n_index_head else 0  # fp8 and a scale
    ledger.contract("nd,dc->nc", weight=2, **sizes)
    ledger.cache += request * new / mixer.ratio * (2 * mixer.head_dim + index)
    if mixer.n_index_head:
        ledger.contract("nr,rjx->njx", weight=2, **sizes)
        ledger.contract("qjx,qx->qj", **sizes)
        ledger.cache += request * seen[-1] * index


def feed_forward(ledger, part, token):
    if isinstance(part, Dense):
        for _ in range(2 if part.gated else 1):
            ledger.contract("nd,dw->nw", weight=2, n=token, w=part.width)
        ledger.contract("nw,wd->nd", weight=2, n=token, w=part.width)
        return
    ledger.contract("nd,dx->nx", weight=2, n=token, x=part.n_expert)
    # uniform routing: an expert stays idle if no token chooses it
    used = part.n_expert * (1 - (1 - part.n_active / part.n_expert) ** token)
    taken = part.latent_width or ledger.sizes["d"]
    if part.latent_width:
        for spec in ("nd,dt->nt", "nt,td->nd"):
            ledger.contract(spec, weight=2, n=token, t=taken)
    for spec in ("nat,tw->naw", "nat,tw->naw", "naw,wt->nat"):
        ledger.contract(spec, weight=2 * used, n=token, a=part.n_active, w=part.width, t=taken)
    if part.shared_width:
        feed_forward(ledger, Dense(width=part.shared_width), token)


def reference(model, *, batch, new, cached, beams=1, shared=0, head=1, absorbed=False):
    ledger = Ledger(d=model.width, v=model.vocabulary)
    for group in model.groups:
        for _ in range(group.count):
            if isinstance(group.mixer, Attention):
                attention(ledger, group.mixer, batch, new, cached, beams, shared)
            elif isinstance(group.mixer, LatentAttention):
                latent_attention(
                    ledger, group.mixer, batch, new, cached, beams, shared, absorbed=absorbed
                )
            elif isinstance(group.mixer, CompressedAttention):
                compressed_attention(
                    ledger, group.mixer, batch, new, cached, beams, shared, prompt=not absorbed
                )
            feed_forward(ledger, group.feed_forward, batch * beams * new)
            for _ in range(2 if model.n_stream > 1 else 0):
                mix(ledger, batch * beams * new, model.n_stream, model.n_stream + 2)
    if model.n_stream > 1:
        mix(ledger, batch * beams * head, model.n_stream, 1)
    ledger.contract("nd,dv->nv", weight=2, n=batch * beams * head)
    return ledger


def mix(ledger, token, stream, each):
    """Weights of streams, from all of them."""
    ledger.contract("nsd,sdtu->ntu", weight=2, n=token, s=stream, t=stream, u=each)


def is_product(operator):
    products = "gemm", "experts", "attention_prefill", "attention_decode"
    return operator.kernel in (*products, "latent_prefill", "latent_decode")


SOFTMAX = ["mha", "gqa", "mqa", "window", "chunk", "experts", "shared", "narrow", "streams"]
COMPRESSED = ["near", "pooled", "compressed"]
LENGTHS = [(1, 0), (4, 0), (13, 0), (3, 1), (5, 9), (17, 4)]


@pytest.mark.parametrize("name", [*SOFTMAX, *COMPRESSED, "latent"])
@pytest.mark.parametrize(("new", "cached"), LENGTHS)
@pytest.mark.parametrize("batch", [1, 3])
def test_prefill_is_the_sum_of_its_contractions(zoo, prefill_of, sum_of, name, new, cached, batch):
    model = zoo[name]
    work = prefill_of(model, batch=batch, prompt=cached + new, cached=cached)
    expected = reference(model, batch=batch, new=new, cached=cached)
    assert sum_of(work, "flop", is_product) == pytest.approx(expected.flop, rel=1e-12)
    assert sum_of(work, "weight", is_product) == pytest.approx(expected.weight, rel=1e-12)
    if name != "latent":  # the naive form reads the latent as the input of its expansion
        assert sum_of(work, "cache") == pytest.approx(expected.cache, rel=1e-12)


@pytest.mark.parametrize("name", [*SOFTMAX, *COMPRESSED, "latent"])
@pytest.mark.parametrize(
    ("context", "shared"), [(0, 0), (3, 3), (11, 11), (11, 4), (11, 0), (24, 20)]
)
@pytest.mark.parametrize("beams", [1, BEAMS])
def test_decode_is_the_sum_of_its_contractions(
    zoo, decode_of, sum_of, name, context, shared, beams
):
    model = zoo[name]
    work = decode_of(model, batch=2, context=context, beams=beams, shared=shared)
    expected = reference(
        model, batch=2, new=1, cached=context, beams=beams, shared=shared, absorbed=True
    )
    assert sum_of(work, "flop", is_product) == pytest.approx(expected.flop, rel=1e-12)
    assert sum_of(work, "weight", is_product) == pytest.approx(expected.weight, rel=1e-12)
    if name != "chunk":  # see test_beams_across_a_chunk
        assert sum_of(work, "cache") == pytest.approx(expected.cache, rel=1e-12)


def test_beams_across_a_chunk(zoo, decode_of, sum_of):
    """Beams share those keys of the current chunk that belong to the prompt."""
    wrong = []
    for shared, context in itertools.product((0, 1, 5, 6, 7, 12), range(1, 20)):
        if shared <= context:
            case = {"cached": context, "beams": BEAMS, "shared": shared}
            expected = reference(zoo["chunk"], batch=1, new=1, **case)
            work = decode_of(zoo["chunk"], context=context, beams=BEAMS, shared=shared)
            if sum_of(work, "cache") != pytest.approx(expected.cache, rel=1e-12):
                wrong.append((shared, context))
    assert not wrong


@pytest.mark.parametrize("name", [*SOFTMAX[:-1], *COMPRESSED, "latent"])
def test_head_of_all_tokens(zoo, prefill_of, sum_of, name):
    last = prefill_of(zoo[name], batch=2, prompt=9)
    every = prefill_of(zoo[name], batch=2, prompt=9, logits=9)
    expected = reference(zoo[name], batch=2, new=9, cached=0, head=9)
    assert sum_of(every, "flop", is_product) == pytest.approx(expected.flop, rel=1e-12)
    added = sum_of(every, "flop", is_product) - sum_of(last, "flop", is_product)
    assert added == 2 * 8 * 2 * 64 * 96


@pytest.mark.parametrize("name", ["gqa", "window", "chunk", "latent"])
def test_without_causal_skip_attention_is_the_full_rectangle(zoo, prefill_of, operator_of, name):
    new, cached, batch = 7, 5, 2
    model = zoo[name]
    work = prefill_of(model, batch=batch, prompt=new + cached, cached=cached, causal_skip=False)
    mixer = model.groups[0].mixer
    depth = 16 + 16 if isinstance(mixer, Attention) else 12 + 4 + 10
    expected = 2 * batch * new * (new + cached) * 8 * depth
    assert operator_of(work, "attention_prefill").flop == expected


def test_mixed_streams_share_the_linear_layers(zoo, work_of, operator_of):
    prompt = {"phase": "prefill", "batch": 2, "new": 5, "cached": 3}
    token = {"phase": "decode", "batch": 7, "new": 1, "cached": 11}
    both = work_of(zoo["gqa"], [prompt, token])
    alone = [work_of(zoo["gqa"], [s]) for s in (prompt, token)]
    for name in ("qkv", "out", "gate_up", "down"):
        parts = [operator_of(w, name) for w in alone]
        assert operator_of(both, name).flop == sum(p.flop for p in parts)
        assert operator_of(both, name).weight == parts[0].weight == parts[1].weight
    for index, name in enumerate(("attention_prefill", "attention_decode")):
        assert operator_of(both, name).flop == operator_of(alone[index], name).flop
    assert operator_of(both, "head", -2).flop == 2 * (2 + 7) * 64 * 96


@pytest.mark.parametrize(
    ("precision", "weight", "cache"),
    [
        (Precision(weight="fp8"), 1.0, 2.0),
        (Precision(weight="int4", group=128), 4.125 / 8, 2.0),
        (Precision(weight="int3", group=128), 3.125 / 8, 2.0),
        (Precision(cache="fp8"), 2.0, 1.0),
        (Precision(activation="fp8"), 2.0, 2.0),
    ],
)
def test_weights_activations_and_cache_have_formats_of_their_own(
    zoo, decode_of, operator_of, precision, weight, cache
):
    model = zoo["gqa"]
    wide, narrow = decode_of(model, context=9), decode_of(model, context=9, precision=precision)
    assert operator_of(narrow, "down").weight == operator_of(wide, "down").weight * weight / 2
    assert operator_of(narrow, "head", -2).weight == operator_of(wide, "head", -2).weight
    read = (operator_of(w, "attention_decode") for w in (narrow, wide))
    assert next(read).cache == next(read).cache * cache / 2
    # inputs are quantised by the product, outputs have 16 bits
    assert operator_of(narrow, "down").activation == 2 * (160 + 64)
