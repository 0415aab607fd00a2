"""Feed-forward parts: dense, and mixtures of experts."""

from __future__ import annotations

import numpy as np

from genz.core.typing import Num
from genz.ops.linear import elementwise, gemm, inner_norm, lora
from genz.ops.routing import distinct_experts, hot_share, reached
from genz.ops.site import Site, shard
from genz.ops.work import Message, Operator, Routed
from genz.spec.model import Dense, Experts

__all__ = ["dense", "exchanged_width", "experts", "routed_experts"]


def dense(
    site: Site, part: Dense, group: int, count: float
) -> tuple[list[Operator], list[Message]]:
    """Return operators and messages of a dense feed-forward part, cut over the tensor ranks."""
    width, row = site.model.width, site.row
    local = shard(part.width, site.tensor)
    operators = _dense(site, row, local, group, count, "", gated=part.gated)
    if site.adapter is not None and site.adapter.feed_forward:
        up = 2 if part.gated else 1
        operators += lora(site, "up", group, count, row, width, up * local, several=up)
        operators += lora(site, "down", group, count, row, local, width)
    size = site.residual
    return operators, [Message("down", "all_reduce", group, count, size, site.tensor)]


def _dense(
    site: Site, row: Num, local: Num, group: int, count: float, prefix: str, *, gated: bool
) -> list[Operator]:
    width = site.model.width
    up, name = (2, "gate_up") if gated else (1, "up")
    return [
        gemm(site, prefix + name, "dense", group, count, row, width, up * local),
        elementwise(
            site, prefix + "activation", group, count, (up + 1) * row * local,
            operation="activation" if gated else "", width=local,
        ),
        gemm(site, prefix + "down", "dense", group, count, row, local, width),
    ]  # fmt: skip


def experts(
    site: Site, part: Experts, group: int, count: float
) -> tuple[list[Operator], list[Message]]:
    """Return operators and messages of a mixture of experts.

    Routed experts are dealt to ``expert`` groups, each expert cut over the rest of the stage. Shared experts are dense, cut
    over the tensor ranks; where these dispatch tokens, each its share, the shared experts are whole on each and see
    that share (vLLM 0.11, ``DeepseekV2MoE`` with ``use_sequence_parallel_moe``). The operator is that of the busiest group.
    Where routed experts work in a latent space, tokens go there before they are sent, and partial sums come back before they are
    summed up; both projections are whole on each rank (TensorRT-LLM 1.2, ``fc1_latent_proj`` of modeling_nemotron_h.py). A norm
    needs their sum before, which then is made beside that of the shared experts, in one message (``ReplicatedLinear`` and
    one reduction of both in vLLM's and SGLang's Kimi K3, 2026-08).
    """
    width, row = site.model.width, site.row
    scores = part.n_expert + (1 if part.shared_gate else 0)  # the shared experts' gate is one more
    router = gemm(site, "router", "norm", group, count, row, width, scores)
    inner, taken = shard(part.width, site.stage / site.expert), part.taken_width(width)
    routed = routed_experts(
        site, group, count, taken, inner, part.n_expert, part.n_active, gated=part.gated
    )
    operators = [router, routed]
    if part.latent_width is not None:
        operators[1:1] = [gemm(site, "latent_in", "dense", group, count, row, width, taken)]
        if part.latent_norm:
            operators.append(inner_norm(site, "latent_norm", group, count, taken, taken))
        operators.append(gemm(site, "latent_out", "dense", group, count, row, taken, width))
    if part.shared_width:
        alone = np.where(site.spread, 1.0, site.tensor)
        share = np.where(site.spread, shard(row, site.tensor), row)
        local = shard(part.shared_width, alone)
        operators += _dense(site, share, local, group, count, "shared_", gated=part.gated)
    return operators, _expert_messages(site, part, group, count)


def routed_experts(
    site: Site,
    group: int,
    count: float,
    width: Num,
    inner: Num,
    n_expert: int,
    n_active: int,
    *,
    gated: bool = True,
) -> Operator:
    """Return the routed experts of one rank of the busiest group, ``inner`` channels of each.

    A rank that has all tokens of the stage also goes through the pairs of the other groups' experts; ranks to which
    tokens are dispatched get their own only.
    """
    token = site.stage_token
    pairs = token * n_active * hot_share(n_expert, n_active, site.expert, site.routing)
    used = distinct_experts(n_expert, n_active, token, site.routing, site.expert)
    matrices = 3 if gated else 2
    up = site.precision.matrix_footprint("expert", width, inner)
    held = (matrices - 1) * up + site.precision.matrix_footprint("expert", inner, width)
    apart = site.spread & ~site.gathered(n_active)
    others = np.where(apart, 0.0, token * n_active - pairs)
    inner_traffic = (2.0 * matrices - 2.0) * inner  # up-projections written, read, written, read
    return Operator(
        name="experts",
        kernel="experts",
        number_format=site.precision.compute_format("expert"),
        group=group,
        count=count,
        flop=2.0 * pairs * matrices * width * inner,
        weight=used * held,
        activation=site.carried * pairs * (2.0 * width + inner_traffic),
        side=site.carried * pairs * width,
        stray=site.carried * np.maximum(others, 0.0) * width,
        depth=used,
        token=pairs,
        apart=np.asarray(site.expert) > 1.0,
        variant=site.precision.variant("expert"),
    )


def _expert_messages(site: Site, part: Experts, group: int, count: float) -> list[Message]:
    """Tokens to their experts and back.

    One attention group: every rank has all tokens, and partial sums are reduced. Several: each rank gives its share of
    its group's tokens to all ranks, and gets the sum of their results; or sends it to the ranks that hold their
    experts, once per expert group and shard (DeepEP deduplicates in this way), and gets the results back. Tensor
    ranks then gather them.
    """
    size = site.residual
    summed = size if part.shared_width or not part.latent_norm else 0.0
    if part.latent_norm:
        summed = summed + site.carried * site.row * part.taken_width(site.model.width)
    alone = np.where(site.spread, 0.0, count)
    messages = [Message("experts", "all_reduce", group, alone, summed, site.tensor)]
    if not site.spread.any():
        return messages
    gathered = site.gathered(part.n_active)
    if gathered.any():
        messages += _to_all(site, part, group, np.where(gathered, count, 0.0))
    taken = gathered | site.exchanged
    if not taken.all():
        messages += _to_each(site, part, group, np.where(site.spread & ~taken, count, 0.0))
    if site.exchanged.any():
        messages += _exchange(site, part, group, np.where(site.exchanged, count, 0.0))
    apart = np.where(site.spread, count, 0.0)
    return [*messages, Message("gather", "all_gather", group, apart, size, site.tensor)]


def _to_all(site: Site, part: Experts, group: int, count: Num) -> list[Message]:
    """Every rank gets all tokens, in the format of the experts' inputs but for scales of blocks, and sums come back."""
    size = site.carried * site.stage_token * part.taken_width(site.model.width)
    blocks = site.precision.variant("expert") == "fp8_block"
    share = 1.0 if blocks else site.precision.activation_width / site.carried
    return [
        Message("dispatch", "all_gather", group, count, share * size, site.stage),
        Message("combine", "reduce_scatter", group, count, size, site.stage),
    ]


def _to_each(site: Site, part: Experts, group: int, count: Num) -> list[Message]:
    """Tokens go out in the format of the experts' inputs, and come back summed; at the bound once to each node."""
    groups = reached(site.expert, part.n_active)
    taken = part.taken_width(site.model.width)
    sent = site.carried * site.row * taken / site.tensor * groups * (site.stage / site.expert)
    out = sent * (site.precision.activation_width / site.carried)

    def routed(width: float) -> Routed | None:
        token, copy = site.row / site.tensor, width * taken
        least = Routed(token, copy, part.n_active, part.n_expert, site.expert)
        return least if site.bound else None

    narrow, wide = routed(site.precision.activation_width), routed(site.carried)
    return [
        Message("dispatch", "all_to_all", group, count, out, site.stage, routed=narrow),
        Message("combine", "all_to_all", group, count, sent, site.stage, routed=wide),
    ]


def exchanged_width(width: float, carried: float) -> float:
    """Return the bytes of a value that DeepEP's kernels send: one of fewer bits has scales, 4 bytes for 128 values.

    Parameters
    ----------
    width, carried : float
        Bytes of a value as experts take it, and of one that is not quantised. [B]
    """
    return width + (4.0 / 128.0 if width < carried else 0.0)


def _exchange(site: Site, part: Experts, group: int, count: Num) -> list[Message]:
    """Kernels of DeepEP take tokens to their experts, and results back, see :mod:`genz.perf.exchange`.

    The low-latency kernels send one copy for each expert, the normal ones one for each rank that has any of them.
    """
    token, carried = site.row / site.tensor, site.carried
    taken = part.taken_width(site.model.width)
    out = exchanged_width(site.precision.activation_width, carried)
    widths = {"dispatch": out, "combine": carried}
    direct = site.kernels == "low_latency"
    copies = float(part.n_active) if direct else reached(site.stage, part.n_active)
    found = []
    for name, width in widths.items():
        routed = Routed(
            token, width * taken, part.n_active, part.n_expert, site.stage, site.kernels
        )
        size = token * copies * routed.width
        found.append(Message(name, name, group, count, size, site.stage, routed=routed))
    return found
