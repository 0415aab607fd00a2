"""How far weights must be quantised to fit a device, and what is fastest within a footprint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from genz.api import decode, memory
from genz.core import check
from genz.core.errors import InputError, UnsupportedFormatError
from genz.core.unit import GB
from genz.core.words import plural
from genz.db import registry
from genz.solve.quantization.footprint import Footprint, footprint, formats_of, holds_all
from genz.solve.words import duration
from genz.spec.deployment import Parallel
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision
from genz.spec.quantization import GroupQuantization

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SCHEMES", "QuantizationChoice", "Quantized", "choose_quantization"]

#: Schemes that are tried unless told otherwise: widths and groups of per-IC quantisation (arXiv 2309.15531), 8 bits per
#: channel, and 16 bits.
SCHEMES = (
    "bf16", "int8_oc", "int4_g32_oc", "int4_g32_ic", "int4_g64_oc", "int4_g64_ic", "int4_g128_oc", "int4_g128_ic",
    "int3_g64_oc", "int3_g64_ic", "int3_g128_oc", "int3_g128_ic", "int2_g64_oc", "int2_g64_ic",
)  # fmt: skip

_UNITS = {
    **dict.fromkeys(("weights", "padding", "room"), "B"),
    **dict.fromkeys(("bits_per_weight", "max_batch"), "1"),
    "time": "s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """One scheme on the device.

    Attributes
    ----------
    scheme : str
        Its name.
    bits_per_weight : float
        Mean over all weights of the model, scales included. [bit]
    weights, padding : float
        Bytes on the fullest device, and of the channels that complete its groups. [B]
    legal : bool
        Whether the layout cuts no group.
    room : float
        Bytes left beside weights, padding, cache and the rest; negative if they do not fit. [B]
    max_batch : int
        Requests that fit beside the weights alone. [1]
    time : float
        Time of the decode step; infinite where it cannot run. [s]
    reason : str
        Why it is no answer; empty if it is one.
    """

    scheme: str
    bits_per_weight: float
    weights: float
    padding: float
    legal: bool
    room: float
    max_batch: int
    time: float
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class QuantizationChoice:
    """Every scheme that was tried, in order.

    Attributes
    ----------
    model, platform : str
        Names.
    parallel : Parallel
        Layout.
    schemes : tuple of Quantized
        What each takes.
    """

    model: str
    platform: str
    parallel: Parallel
    schemes: tuple[Quantized, ...]

    def __repr__(self) -> str:
        """Return one line: what was tried, and how much of it fits."""
        fits = f"{len(self.feasible)} of {plural(len(self.schemes), 'scheme')} fit"
        return f"<QuantizationChoice of {self.model}: {fits} {self.platform}; explain() says it in words>"

    @property
    def feasible(self) -> tuple[Quantized, ...]:
        """Schemes that fit."""
        return tuple(q for q in self.schemes if not q.reason)

    @property
    def widest(self) -> Quantized | None:
        """Scheme of most bits that fits: as far must one quantise, no further; None if none fits."""
        return max(self.feasible, key=lambda q: (q.bits_per_weight, -q.time), default=None)

    @property
    def fastest(self) -> Quantized | None:
        """Scheme with the shortest decode step among those that fit; of equal ones that of most bits."""
        return min(self.feasible, key=lambda q: (q.time, -q.bits_per_weight), default=None)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per scheme."""
        import pandas as pd

        frame = pd.DataFrame(
            [{n: getattr(q, n) for n in Quantized.__slots__} for q in self.schemes]
        )
        frame.attrs["units"] = dict(_UNITS)
        return frame

    def explain(self) -> str:
        """Return the two answers in words, or why there is none."""
        place = f"{self.model} on {self.platform}, {self.parallel.label}"
        wide, fast = self.widest, self.fastest
        if wide is None or fast is None:
            least = min(self.schemes, key=lambda q: q.weights)
            return f"{place}: no scheme fits; {least.scheme}, the smallest: {least.reason}."
        texts = [
            f"{q.scheme} ({q.bits_per_weight:.2f} bits per weight, {q.weights / GB:.2f} GB on a device, "
            f"{duration(q.time)} per decode step)"
            for q in (wide, fast)
        ]
        return f"{place}: most bits that fit: {texts[0]}; fastest: {texts[1]}."


def choose_quantization(
    model: Model | str,
    platform: Platform | str,
    schemes: Sequence[GroupQuantization | Precision | str]
    | GroupQuantization
    | Precision
    | str = SCHEMES,
    *,
    batch: int = 1,
    context: int,
    parallel: Parallel | None = None,
    limit: float = np.inf,
    pad: bool = False,
    **options: Any,
) -> QuantizationChoice:
    """Return what each scheme takes on a device: the most bits that fit, and the fastest within a footprint.

    Parameters
    ----------
    model : Model or str
        Model.
    platform : Platform or str
        Platform.
    schemes : GroupQuantization, Precision or str, or a sequence of them
        Tried one by one, so that the answers are exact; formats that differ between mixers, dense layers and experts
        are a ``Precision``.
    batch, context : int
        Requests at once and tokens that each has in the cache. [1], [tokens]
    parallel : Parallel, optional
        Layout; default one accelerator.
    limit : float, optional
        Bytes that weights may take on a device; default what it holds. [B]
    pad : bool, default False
        Whether channels of zeros may complete groups that the layout cuts.
    **options
        ``precision``: what a ``GroupQuantization`` leaves open, default 16 bits; ``engine``: serving software.

    Returns
    -------
    QuantizationChoice
        ``widest`` and ``fastest`` scheme; ``explain()``, and ``to_frame()`` with a row for each scheme.

    Raises
    ------
    InputError
        If there is no scheme, or an argument breaks its rule.

    Examples
    --------
    >>> found = choose_quantization("llama3_70b", "h100_sxm_1", context=4096, batch=8)
    >>> found.widest.scheme, found.fastest.scheme
    ('int4 g32 oc', 'int2 g64 oc')
    """
    if isinstance(schemes, (str, Precision, GroupQuantization)):
        schemes = [schemes]
    if not len(schemes):
        msg = "schemes must name at least one scheme, got none"
        raise InputError(msg)
    for name in options:
        if name not in ("precision", "engine"):
            msg = f"unknown keyword {name!r}; options: precision, engine"
            raise InputError(msg)
    layout = parallel or Parallel()
    for name, value in (("batch", batch), ("context", context), ("parallel", layout.size)):
        if np.ndim(value):
            msg = f"{name} must be one case, got an array of shape {np.shape(value)}"
            raise InputError(msg)
    most = float(check.number("limit", limit))
    trial = _Trial(
        model=registry.model(model),
        platform=registry.platform(platform),
        parallel=layout,
        load={"batch": batch, "context": context},
        limit=most if most == np.inf else float(check.positive("limit", most, "B")),
        pad=pad,
        options=options,
    )
    found = tuple(trial.of(scheme) for scheme in schemes)
    return QuantizationChoice(trial.model.name, trial.platform.name, trial.parallel, found)


@dataclass(frozen=True, slots=True, eq=False)
class _Trial:
    """What all schemes have in common."""

    model: Model
    platform: Platform
    parallel: Parallel
    load: dict[str, Any]
    limit: float
    pad: bool
    options: dict[str, Any]

    def of(self, scheme: GroupQuantization | Precision | str) -> Quantized:
        """Return what one scheme takes."""
        base = None if holds_all(scheme) else self.options.get("precision")
        formats, _, label = formats_of(self.model, scheme, base)
        foot = footprint(self.model, scheme, parallel=self.parallel, precision=base)
        engine = self.options.get("engine")
        case = {**self.load, "parallel": self.parallel, "precision": formats, "engine": engine}
        held = memory(self.model, self.platform, **case)
        padding, weights = float(foot.padding_total), float(foot.device_total)
        room = float(held.pool - held.cache) - padding
        time, reason = np.inf, ""
        try:
            time = float(decode(self.model, self.platform, **case).time)
        except UnsupportedFormatError as error:
            reason = str(error)
        if not reason:
            reason = self._reason(foot, room)
            if not reason and not bool(held.fits):
                reason = f"no more than {int(held.max_batch)} requests at once"
        return Quantized(
            scheme=label,
            bits_per_weight=foot.bits_per_weight,
            weights=weights,
            padding=padding,
            legal=bool(foot.is_legal),
            room=room,
            max_batch=int(held.max_batch),
            time=time,
            reason=reason,
        )

    def _reason(self, foot: Footprint, room: float) -> str:
        """Return why a scheme does not fit, or nothing."""
        weights = float(foot.device_total + foot.padding_total)
        if not foot.is_legal and not self.pad:
            return "the layout cuts groups"
        if room < 0.0:
            return f"{-room / GB:.3g} GB too much"
        if weights > self.limit:
            return f"{weights / GB:.3g} GB of weights, above the limit of {self.limit / GB:.3g} GB"
        return ""
