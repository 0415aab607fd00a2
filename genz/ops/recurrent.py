"""State space models and linear attention: a state of constant size instead of a cache."""

from __future__ import annotations

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.ops.linear import gemm, heads, inner_norm
from genz.ops.site import Site, shard
from genz.ops.work import Message, Operator
from genz.spec.model import LinearAttention, StateSpace

__all__ = ["linear_attention", "recurrence", "scan", "state_space", "state_values"]

#: Flop per state value and token. Selective scan: scale by the decay, add the input, contract with the
#: output map (Gu and Dao, arXiv 2312.00752, algorithm 2); the gated delta rule also contracts the state with
#: the key (Yang et al., arXiv 2412.06464, equation 10); lightning attention decays, adds and contracts.
_FLOP_PER_STATE = {"selective": 6.0, "gated_delta": 7.0, "kimi_delta": 7.0, "lightning": 5.0}


def state_space(
    site: Site, mixer: StateSpace, group: int, count: float
) -> tuple[list[Operator], list[Message]]:
    """Return operators and messages of one Mamba layer; channels or heads are dealt to tensor ranks."""
    width, row, tensor = site.model.width, site.row, site.tensor
    inner: Num = shard(mixer.inner, tensor)
    if mixer.version == 1:
        projected = 2.0 * inner
        convolved = inner
    else:
        maps = 2.0 * shard(mixer.n_group, tensor) * mixer.state
        projected = 2.0 * inner + maps + shard(mixer.n_head, tensor)
        convolved = inner + maps
    operators = [gemm(site, "in", "mixer", group, count, row, width, projected)]
    operators.append(_convolution(site, group, count, convolved, mixer.convolution))
    messages = []
    if mixer.version == 1:
        low = mixer.step_rank + 2.0 * mixer.state
        operators.append(gemm(site, "maps", "mixer", group, count, row, inner, low))
        operators.append(gemm(site, "step", "mixer", group, count, row, mixer.step_rank, inner))
        messages.append(
            Message("maps", "all_reduce", group, count, site.carried * row * low, tensor)
        )
    operators.append(scan(site, mixer, group, count))
    if _gated_norm(mixer):
        operators.append(inner_norm(site, "inner_norm", group, count, inner, inner, gate=True))
    operators.append(gemm(site, "out", "out", group, count, row, inner, width))
    messages.append(Message("out", "all_reduce", group, count, site.residual, tensor))
    return operators, messages


def linear_attention(
    site: Site, mixer: LinearAttention, group: int, count: float
) -> tuple[list[Operator], list[Message]]:
    """Return operators and messages of one linear-attention layer.

    Heads are dealt to tensor ranks; projections to low ranks are whole on each.
    """
    width, row, tensor = site.model.width, site.row, site.tensor
    key = heads(mixer.n_key_head, tensor) * mixer.key_dim
    share = heads(mixer.n_value_head, tensor) / mixer.n_value_head
    value = share * mixer.value_width
    whole = 2 * mixer.key_width + mixer.low_rank
    projected = 2.0 * key + share * (mixer.projected - whole) + mixer.low_rank
    operators = [gemm(site, "in", "mixer", group, count, row, width, projected)]
    if mixer.decay_rank:
        decay = share * mixer.decayed
        operators.append(gemm(site, "decay", "mixer", group, count, row, mixer.decay_rank, decay))
    if mixer.gate_rank is not None:
        operators.append(
            gemm(site, "output_gate", "mixer", group, count, row, mixer.gate_rank, value)
        )
    if mixer.convolution:
        operators.append(_convolution(site, group, count, 2.0 * key + value, mixer.convolution))
    operators.append(scan(site, mixer, group, count))
    messages = [Message("out", "all_reduce", group, count, site.residual, tensor)]
    normed: Num = mixer.value_dim
    if mixer.variant == "lightning":  # over all heads: sums of squares of their outputs, in 32 bits
        normed = value
        messages.append(Message("inner_norm", "all_reduce", group, count, 4.0 * row, tensor))
    operators.append(inner_norm(site, "inner_norm", group, count, value, normed, gate=True))
    operators.append(gemm(site, "out", "out", group, count, row, value, width))
    return operators, messages


def state_values(mixer: StateSpace | LinearAttention, tensor: Num) -> tuple[FloatArray, FloatArray]:
    """Return what one request keeps in one layer on one rank: values of the recurrent state, and last inputs of the convolution [1]."""
    if isinstance(mixer, StateSpace):
        inner = shard(mixer.inner, tensor)
        maps = 2.0 * shard(mixer.n_group, tensor) * mixer.state if mixer.version == 2 else 0.0
        state, channels = inner * mixer.state, inner + maps
    else:
        key = heads(mixer.n_key_head, np.asarray(tensor)) * mixer.key_dim
        value_head = heads(mixer.n_value_head, np.asarray(tensor))
        state = value_head * mixer.key_dim * mixer.value_dim
        channels = 2.0 * key + value_head * mixer.value_dim
    return np.asarray(state), np.asarray(channels * max(mixer.convolution - 1, 0))


def _convolution(
    site: Site, group: int, count: float, channel: FloatArray, length: int
) -> Operator:
    """Causal convolution, which reads and writes the last inputs of each sequence."""
    row = site.row
    sequences = sum(s.batch * s.beams for s in site.streams)
    return Operator(
        name="convolution",
        kernel="elementwise",
        number_format=site.precision.wide.activation,
        group=group,
        count=count,
        flop=2.0 * row * channel * length,
        weight=channel * length * site.precision.weight_width("norm"),
        cache=2.0 * sequences * channel * (length - 1) * site.carried,
        activation=2.0 * site.carried * row * channel,
    )


def _gated_norm(mixer: StateSpace) -> bool:
    """Whether a norm after the scan takes the gates, which go through the scan itself without one."""
    return mixer.version == 2 and mixer.inner_norm


def _passed(mixer: StateSpace | LinearAttention, tensor: Num) -> Num:
    """Channels of a token that a scan reads and writes on one rank.

    Queries, keys, values and outputs, and decays of channels; inputs, maps and outputs where a norm takes the gates; else inputs,
    steps, gates and outputs.
    """
    if isinstance(mixer, LinearAttention):
        key = heads(mixer.n_key_head, tensor) * mixer.key_dim
        each = 2.0 * mixer.value_dim + (mixer.key_dim if mixer.decay_rank else 0.0)
        return 2.0 * key + heads(mixer.n_value_head, tensor) * each
    inner = shard(mixer.inner, tensor)
    if not _gated_norm(mixer):
        return 4.0 * inner
    return 2.0 * inner + 2.0 * shard(mixer.n_group, tensor) * mixer.state


def scan(site: Site, mixer: StateSpace | LinearAttention, group: int, count: float) -> Operator:
    """Return the recurrence of a mixer over the tokens."""
    rule = "selective" if isinstance(mixer, StateSpace) else mixer.variant
    state, _ = state_values(mixer, site.tensor)
    channel = _passed(mixer, site.tensor)
    return recurrence(site, group, count, state, channel, _FLOP_PER_STATE[rule])


def recurrence(
    site: Site, group: int, count: float, state: Num, channel: Num, flop_per_state: Num
) -> Operator:
    """Return a recurrence over tokens of some channels: the state of each sequence is read and written once per step."""
    row = site.row
    sequences = sum(s.batch * s.beams for s in site.streams)
    return Operator(
        name="scan",
        kernel="scan",
        number_format=site.precision.wide.activation,
        group=group,
        count=count,
        flop=flop_per_state * row * state,
        cache=2.0 * sequences * state * site.precision.state_width,
        activation=site.carried * row * channel,
    )
