"""AdaDim: for every linear layer, groups along the output or the input channel, whichever errs less."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from genz.core.check import number, require
from genz.core.errors import InputError
from genz.core.typing import FloatArray
from genz.spec.quantization import GroupQuantization

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AdaDim", "Output", "adadim", "quantized", "sequential"]

Output: TypeAlias = Callable[[str, Mapping[str, FloatArray]], ArrayLike]
"""Takes the name of a layer and the weights of all; returns the output that judges that layer."""

_AXES = ("oc", "ic")


@dataclass(frozen=True, slots=True, eq=False)
class AdaDim:
    """The axis of every layer, and what each axis would have cost.

    Attributes
    ----------
    bits, group : int
        Bits of a weight, and weights that share a scale; 0: a channel. [bit], [1]
    axis : mapping
        Layer -> ``"oc"`` or ``"ic"``, in the order of the choices.
    error_oc, error_ic : ndarray, shape (n_layer,)
        Mean squared error of the output that judges the layer; infinite where groups do not divide its channels.
        [square of the output's unit]
    weights : mapping
        Layer -> weights after quantisation along its axis, shape (outer, inner).
    """

    bits: int
    group: int
    axis: Mapping[str, str]
    error_oc: FloatArray
    error_ic: FloatArray
    weights: Mapping[str, FloatArray]

    @property
    def ratio(self) -> FloatArray:
        """Error along ``oc`` over error along ``ic``, shape (n_layer,); above 1 ``ic`` is better [1]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.error_oc / self.error_ic)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer."""
        import pandas as pd

        columns = {"name": list(self.axis), "axis": list(self.axis.values())}
        numbers = {n: getattr(self, n) for n in ("error_oc", "error_ic", "ratio")}
        frame = pd.DataFrame(columns | numbers)
        frame.attrs["units"] = dict.fromkeys(numbers, "1")
        return frame

    def explain(self) -> str:
        """Return the choices in words."""
        group = f" g{self.group}" if self.group else ""
        names = {axis: [n for n, a in self.axis.items() if a == axis] for axis in _AXES}
        parts = [f"{axis} for {', '.join(found)}" for axis, found in names.items() if found]
        return f"int{self.bits}{group}: {'; '.join(parts)}."


def adadim(
    weights: Mapping[str, ArrayLike], output: Output, *, bits: int = 3, group: int = 128
) -> AdaDim:
    """Return for every layer the axis whose quantisation changes an output least, greedy and in order.

    Parameters
    ----------
    weights : mapping
        Layer -> weights of shape (outer, inner), in the order in which layers are quantised.
    output : callable
        Takes the name of a layer and the weights of all layers, and returns the output on the user's activations
        that judges it: of the layer itself, or of the block to which it belongs. :func:`sequential` makes one.
    bits, group : int, default 3 and 128
        Bits of a weight, and weights that share a scale; 0: a channel. [bit], [1]

    Returns
    -------
    AdaDim
        The axis of each layer; ``explain()``, and ``to_frame()`` with the errors of both axes.

    Raises
    ------
    InputError
        If weights are no finite matrices, an output is not finite, or groups divide neither side of a matrix.

    Notes
    -----
    AdaDim (Heo et al., ICLR 2024, arXiv 2309.15531). For each layer the reference is the output with
    the earlier layers quantised as chosen and this and the later ones as given; each axis is tried in its place; the
    one of less mean squared error stays, ``oc`` if they are equal. The paper judges query, key and value by the output
    of attention, gate and up by that of the feed-forward part, and the projections after them by their own.

    Neither axis is always better: where the inputs of large activation have the large weights, groups along ``oc``
    confine their range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> layers = {"up": rng.normal(size=(256, 128)), "down": rng.normal(size=(128, 256))}
    >>> layers["up"][:, 5] *= 30.0  # weights of one input channel
    >>> found = adadim(layers, sequential(rng.normal(size=(64, 128)), lambda x: np.maximum(x, 0.0)))
    >>> found.explain()
    'int3 g128: oc for down; ic for up.'
    """
    now = {name: _matrix(f"weights[{name!r}]", value) for name, value in weights.items()}
    if not now:
        msg = "weights must hold at least one layer, got none"
        raise InputError(msg)
    schemes = {axis: GroupQuantization(bits=bits, group=group, axis=axis) for axis in _AXES}
    errors: list[list[float]] = []
    chosen: dict[str, str] = {}
    for name in now:
        reference = _judged(output, name, now)
        tried = {a: _tried(now[name], s) for a, s in schemes.items()}
        found = [
            np.inf if t is None else _error(_judged(output, name, {**now, name: t}), reference)
            for t in tried.values()
        ]
        axis = _AXES[int(np.argmin(found))]
        best = tried[axis]
        if best is None:
            outer, inner = now[name].shape
            msg = (
                f"group must divide a side of weights[{name!r}], got {group} for {outer} x {inner}"
            )
            raise InputError(msg)
        now[name], chosen[name] = best, axis
        errors.append(found)
    both = np.array(errors).T
    return AdaDim(bits, group, MappingProxyType(chosen), both[0], both[1], MappingProxyType(now))


def sequential(
    inputs: ArrayLike, activation: Callable[[FloatArray], FloatArray] | None = None
) -> Output:
    """Return the output of each layer of a chain, whose inputs are the outputs of the layers before.

    Parameters
    ----------
    inputs : array_like, shape (..., inner)
        Activations that enter the first layer.
    activation : callable, optional
        Applied between layers.

    Returns
    -------
    callable
        For :func:`adadim`.

    Raises
    ------
    InputError
        If the activations are not finite numbers.
    """
    first = _finite("inputs", inputs)

    def output(name: str, weights: Mapping[str, FloatArray]) -> FloatArray:
        value = first
        for layer, weight in weights.items():
            value = value @ weight.T
            if layer == name:
                break
            value = value if activation is None else activation(value)
        return value

    return output


def quantized(weight: ArrayLike, scheme: GroupQuantization | str) -> FloatArray:
    r"""Return weights after quantisation to integers and back.

    Parameters
    ----------
    weight : array_like, shape (outer, inner)
        Weights.
    scheme : GroupQuantization or str
        Bits, group and axis; the zero point is an integer of as many bits as a weight.

    Returns
    -------
    ndarray, shape (outer, inner)
        Weights that the integers stand for, in the unit of ``weight``.

    Raises
    ------
    InputError
        If the weights are no finite matrix, groups do not divide its channels, or the zero point is of another format.

    Notes
    -----
    With the least and largest weight of a group and :math:`m = 2^n - 1`:
    :math:`s = (\max - \min) / m`, :math:`z = \mathrm{clip}(-\mathrm{round}(\min / s), 0, m)`,
    :math:`\hat w = (\mathrm{clip}(\mathrm{round}(w / s) + z, 0, m) - z) s`
    (authors' code of arXiv 2309.15531). Scales are not rounded to their format. A group of equal weights has no
    range; its scale is taken so that it stays as it is.

    Examples
    --------
    >>> quantized([[-1.0, 0.2, 0.9, 2.0]], GroupQuantization(bits=2, group=4))
    array([[-1.,  0.,  1.,  2.]])
    """
    scheme = GroupQuantization.of(scheme)
    matrix = _matrix("weight", weight)
    if scheme.zero != "int":
        msg = f"zero must be 'int' to quantise weights, got {scheme.zero!r}"
        raise InputError(msg)
    found = _tried(matrix, scheme)
    if found is None:
        side = "input" if scheme.axis == "oc" else "output"
        along = matrix.shape[1 if scheme.axis == "oc" else 0]
        msg = f"group must divide the {along} {side} channels of weight, got {scheme.group}"
        raise InputError(msg)
    return found


def _tried(matrix: FloatArray, scheme: GroupQuantization) -> FloatArray | None:
    """Return weights after quantisation, or None where groups do not divide the channels."""
    outer, inner = matrix.shape
    if scheme.missing(inner, outer) != 0.0:
        return None
    turned = matrix.T if scheme.axis == "ic" else matrix
    size = matrix.size if scheme.axis == "tensor" else scheme.group or turned.shape[1]
    found = _rounded(turned.reshape(-1, size), scheme.bits).reshape(turned.shape)
    return np.ascontiguousarray(found.T if scheme.axis == "ic" else found)


def _rounded(groups: FloatArray, bits: int) -> FloatArray:
    """Quantise every row by itself, and return what its integers stand for."""
    most = 2.0**bits - 1.0
    low, high = groups.min(axis=1, keepdims=True), groups.max(axis=1, keepdims=True)
    flat = np.where(low == 0.0, 1.0, np.abs(low)) / most
    scale = np.where(high > low, (high - low) / most, flat)
    zero = np.clip(-np.round(low / scale), 0.0, most)
    return np.asarray((np.clip(np.round(groups / scale) + zero, 0.0, most) - zero) * scale)


def _judged(output: Output, name: str, weights: Mapping[str, FloatArray]) -> FloatArray:
    return _finite(f"output of {name!r}", output(name, MappingProxyType(dict(weights))))


def _error(found: FloatArray, reference: FloatArray) -> float:
    return float(np.mean((found - reference) ** 2))


def _matrix(name: str, value: ArrayLike) -> FloatArray:
    array = _finite(name, value)
    if array.ndim != 2 or not array.size:
        msg = f"{name} must be a matrix, got shape {array.shape}"
        raise InputError(msg)
    return array


def _finite(name: str, value: ArrayLike) -> FloatArray:
    array = number(name, value)
    return require(np.asarray(np.isfinite(array)), array, name, "must be finite")
