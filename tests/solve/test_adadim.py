"""AdaDim: the formula against loops, the choice against enumeration and the published warning."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genz.core.errors import InputError, UnknownNameError
from genz.paper.quantization_adadim import CASES, synthetic
from genz.solve.quantization.adadim import adadim, quantized, sequential
from genz.spec.quantization import GroupQuantization


def one_group(values, bits):
    """The formula, number by number."""
    low, high, most = min(values), max(values), 2**bits - 1
    if low == high:
        return list(values)
    scale = (high - low) / most
    zero = min(max(-round(low / scale), 0), most)
    return [(min(max(round(w / scale) + zero, 0), most) - zero) * scale for w in values]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    bits=st.sampled_from([2, 3, 4, 8]),
    group=st.sampled_from([0, 2, 4, 8]),
    axis=st.sampled_from(["oc", "ic", "tensor"]),
    shift=st.sampled_from([0.0, 0.5, -3.0]),
)
def test_formula_number_by_number(seed, bits, group, axis, shift):
    weight = np.random.default_rng(seed).normal(size=(8, 16)) + shift
    scheme = GroupQuantization(bits=bits, group=0 if axis == "tensor" else group, axis=axis)
    found = quantized(weight, scheme)
    if axis == "tensor":
        expected = np.reshape(one_group(list(weight.ravel()), bits), weight.shape)
    else:
        lines = weight if axis == "oc" else weight.T
        size = group or lines.shape[1]
        expected = np.array(
            [np.ravel([one_group(list(part), bits) for part in row.reshape(-1, size)]) for row in lines]
        )  # fmt: skip
        expected = expected if axis == "oc" else expected.T
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 4, 8]))
def test_error_is_at_most_a_step_where_a_group_spans_zero(seed, bits):
    # rounding of the weight and of the zero point: half a step each
    weight = np.random.default_rng(seed).normal(size=(4, 32))
    step = (weight.max(axis=1) - weight.min(axis=1)) / (2**bits - 1)
    error = np.abs(quantized(weight, GroupQuantization(bits=bits, group=32)) - weight)
    assert (error <= step[:, None] * (1 + 1e-9)).all()


def test_equal_weights_stay_and_the_argument_too():
    weight = np.array([[0.3, 0.3, -2.0, -2.0, 0.0, 0.0]])
    before = weight.copy()
    assert quantized(weight, "int3_g2_oc") == pytest.approx(weight, rel=1e-12)
    assert (weight == before).all()


def test_axes_are_transposes():
    weight = np.random.default_rng(1).normal(size=(16, 16))
    found = quantized(weight.T, "int3_g8_oc").T
    assert (quantized(weight, "int3_g8_ic") == found).all()


def block(inputs, n_head=2):
    """Outputs of a decoder block: attention for q, k, v, the MLP for gate and up, o and down their own."""

    def heads(x):
        return x.reshape(len(x), n_head, -1).swapaxes(0, 1)

    def output(name, w):
        q, k, v = (heads(inputs @ w[n].T) for n in "qkv")
        score = q @ k.swapaxes(1, 2) / np.sqrt(q.shape[-1])
        score = np.where(np.tri(len(inputs), dtype=bool), score, -np.inf)
        share = np.exp(score - score.max(axis=-1, keepdims=True))
        mixed = (share / share.sum(axis=-1, keepdims=True)) @ v
        attended = mixed.swapaxes(0, 1).reshape(len(inputs), -1) @ w["o"].T
        if name in "qkvo":
            return attended
        hidden = inputs + attended
        gate = hidden @ w["gate"].T
        return (gate / (1.0 + np.exp(-gate)) * (hidden @ w["up"].T)) @ w["down"].T

    return output


def block_weights(rng, width=16, inner=32):
    shapes = dict.fromkeys("qkvo", (width, width))
    shapes |= {"gate": (inner, width), "up": (inner, width), "down": (width, inner)}
    return {
        n: rng.normal(size=s) * np.exp(rng.normal(size=(s[0], 1)) + rng.normal(size=s[1])) / 4
        for n, s in shapes.items()
    }


def greedy_by_enumeration(weights, output, group):
    """Of all choices the one that at no layer, given those before it, the other axis would beat."""
    names = list(weights)
    tables = {a: {n: quantized(w, f"int3_g{group}_{a}") for n, w in weights.items()} for a in ("oc", "ic")}  # fmt: skip

    def error(choice):
        """Error at the last layer of a choice for the first layers."""
        place = len(choice) - 1
        before = {n: tables[a][n] for n, a in zip(names[:place], choice, strict=False)}
        reference = output(names[place], {**weights, **before})
        found = output(
            names[place], {**weights, **before, names[place]: tables[choice[-1]][names[place]]}
        )
        return np.mean((found - reference) ** 2)

    def stands(choice):
        other = {"oc": "ic", "ic": "oc"}
        return all(
            error(choice[: i + 1]) <= error((*choice[:i], other[choice[i]]))
            for i in range(len(choice))
        )

    (found,) = [c for c in product(("oc", "ic"), repeat=len(names)) if stands(c)]
    return found


@pytest.mark.parametrize("seed", range(4))
def test_a_decoder_block_equals_enumeration(seed):
    rng = np.random.default_rng(seed)
    weights, output = block_weights(rng), block(rng.normal(size=(12, 16)))
    found = adadim(weights, output, bits=3, group=8)
    assert tuple(found.axis.values()) == greedy_by_enumeration(weights, output, 8)
    assert list(found.axis) == list(weights)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_a_chain_equals_enumeration(seed, n_layer):
    rng = np.random.default_rng(seed)
    weights = {
        f"l{i}": rng.normal(size=(16, 16)) * np.exp(rng.normal(size=16)) for i in range(n_layer)
    }
    output = sequential(rng.normal(size=(8, 16)), np.tanh)
    found = adadim(weights, output, bits=3, group=8)
    assert tuple(found.axis.values()) == greedy_by_enumeration(weights, output, 8)


def test_later_choices_see_earlier_layers_quantised():
    rng = np.random.default_rng(3)
    weights = {n: rng.normal(size=(16, 16)) for n in ("one", "two")}
    inputs, seen = rng.normal(size=(8, 16)), []

    def output(name, w):
        seen.append((name, (w["one"] == weights["one"]).all()))
        return sequential(inputs)(name, w)

    found = adadim(weights, output, group=8)
    assert [original for name, original in seen if name == "two"] == [False, False, False]
    one = quantized(weights["one"], f"int3_g8_{found.axis['one']}")
    assert (found.weights["one"] == one).all()
    reference = inputs @ one.T @ weights["two"].T
    for axis, error in (("oc", found.error_oc), ("ic", found.error_ic)):
        other = inputs @ one.T @ quantized(weights["two"], f"int3_g8_{axis}").T
        assert error[1] == pytest.approx(np.mean((other - reference) ** 2))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("case", CASES)
def test_picks_the_better_side_of_each_synthetic_case(case, seed):
    weights, inputs = synthetic(case, seed)
    exact = inputs @ weights.T
    error = {
        axis: np.mean((inputs @ quantized(weights, f"int3_g128_{axis}").T - exact) ** 2)
        for axis in ("oc", "ic")
    }
    found = adadim({"layer": weights}, sequential(inputs))
    assert found.axis["layer"] == min(error, key=error.get)
    assert found.ratio[0] == pytest.approx(error["oc"] / error["ic"], rel=1e-9)
    if CASES[case] > 1.5 or CASES[case] < 0.7:  # a clear case has its side whatever the draw
        assert found.axis["layer"] == ("ic" if CASES[case] > 1 else "oc")


def test_groups_that_fit_one_side_only():
    weights = {"layer": np.random.default_rng(0).normal(size=(8, 6))}
    found = adadim(weights, sequential(np.ones((1, 6))), group=4)
    assert found.axis == {"layer": "ic"}
    assert (found.error_oc[0], found.ratio[0]) == (np.inf, np.inf)


def test_frame_and_words():
    rng = np.random.default_rng(0)
    weights = {"a": rng.normal(size=(8, 8)), "b": rng.normal(size=(8, 8))}
    weights["a"][:, 1] *= 50
    found = adadim(weights, sequential(rng.normal(size=(5, 8))), bits=4, group=0)
    frame = found.to_frame()
    assert frame.name.tolist() == ["a", "b"]
    assert frame.axis[0] == "ic"
    assert (frame.ratio == frame.error_oc / frame.error_ic).all()
    assert set(frame.attrs["units"]) == {"error_oc", "error_ic", "ratio"}
    assert found.explain().startswith("int4: ")


def test_what_is_refused():
    good, rows = np.ones((4, 4)), sequential(np.ones((1, 4)))
    with pytest.raises(InputError, match=r"^weights must hold at least one layer, got none$"):
        adadim({}, rows)
    with pytest.raises(InputError, match=r"^weights\['a'\] must be a matrix, got shape \(4,\)$"):
        adadim({"a": np.ones(4)}, rows)
    with pytest.raises(
        InputError, match=r"^weights\['a'\] must be finite, got inf at index \(0, 0\)$"
    ):
        adadim({"a": [[np.inf]]}, rows)
    with pytest.raises(
        InputError, match=r"^group must divide a side of weights\['a'\], got 3 for 4 x 4$"
    ):
        adadim({"a": good}, rows, group=3)
    with pytest.raises(
        InputError, match=r"^output of 'a' must be a number, got nan at index \(0,\)$"
    ):
        adadim({"a": good}, lambda name, weights: [np.nan], group=4)
    with pytest.raises(InputError, match=r"^inputs must be a number or an array of numbers"):
        sequential("text")
    with pytest.raises(InputError, match=r"^zero must be 'int' to quantise weights, got 'fp16'$"):
        quantized(good, GroupQuantization(bits=3, group=4, zero="fp16"))
    with pytest.raises(
        InputError, match=r"^group must divide the 4 output channels of weight, got 3$"
    ):
        quantized(good, "int3_g3_ic")
    with pytest.raises(UnknownNameError, match=r"^no scheme of quantisation named 'int3'"):
        quantized(good, "int3")
