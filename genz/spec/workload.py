"""What is asked: lengths of requests, limits to meet, the quantity to minimise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from genz.core import schema
from genz.core.check import number, require
from genz.core.errors import InputError
from genz.core.schema import Record
from genz.core.typing import FloatArray, FloatLike, Num
from genz.spec.source import Source

__all__ = ["Lengths", "Objective", "Workload"]

#: What a limit is on unless told otherwise, and the fields that tell. [1]
_NINE_OF_TEN = 0.9
_LEVELS = ("percentile", "ttft_percentile", "tpot_percentile", "latency_percentile")


@dataclass(frozen=True, kw_only=True, eq=False)
class Lengths(Record):
    """Statistics of a token count over requests.

    Examples
    --------
    >>> import genz
    >>> some = genz.Workload(prompt=genz.Lengths(mean=800, std=600), output=genz.Lengths(mean=200))
    >>> some.prompt.std / some.prompt.mean
    0.75
    """

    mean: Num = schema.quantity("tokens", "mean", low=0.0, high=1e9)
    median: Num | None = schema.quantity("tokens", "median", high=1e9, default=None)
    std: Num | None = schema.quantity("tokens", "standard deviation", high=1e9, default=None)
    p90: Num | None = schema.quantity("tokens", "90th percentile", high=1e9, default=None)
    p95: Num | None = schema.quantity("tokens", "95th percentile", high=1e9, default=None)
    p99: Num | None = schema.quantity("tokens", "99th percentile", high=1e9, default=None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Objective(Record):
    """Limits to meet and the quantity to minimise.

    A limit on a time is a promise to users: unless told otherwise nine of ten requests keep each of them, the
    attainment goal of DistServe (OSDI 2024); MLPerf asks for 0.99, and ``"mean"`` is what benchmarks print.

    Examples
    --------
    Eight requests per second, nine of ten of them with a first token within a second:

    >>> import genz
    >>> limits = genz.Objective(rate=8.0, ttft=1.0, tpot=0.050, percentile=0.9)
    >>> limits.replace(rate=[2.0, 8.0], duration=[16 * 3600.0, 8 * 3600.0]).rate.tolist()  # a day
    [2.0, 8.0]
    """

    rate: Num | None = schema.quantity(
        "1/s",
        "requests per second, which plans need, none: not asked; an array for the periods of a day",
        high=1e9,
        default=None,
    )
    duration: Num | None = schema.quantity(
        "s", "length of each period; none: all alike", high=1e9, default=None
    )
    ttft: Num = schema.quantity("s", "limit on time to first token", default=np.inf)
    tpot: Num = schema.quantity("s", "limit on time per output token", default=np.inf)
    latency: Num = schema.quantity("s", "limit on time to last token", default=np.inf)
    percentile: float | str | None = schema.level(
        "what each limit is on: the mean over requests, or the share of them that keep it; none: 0.9, where a "
        "question knows percentiles",
        default=None,
    )
    ttft_percentile: float | str | None = schema.level(
        "the same for ttft; none: percentile", default=None
    )
    tpot_percentile: float | str | None = schema.level(
        "the same for tpot; none: percentile", default=None
    )
    latency_percentile: float | str | None = schema.level(
        "the same for latency; none: percentile", default=None
    )
    attainment: float | None = schema.level(
        "share of all requests that keep all limits at once, in place of percentiles; none: no such goal",
        mean=False,
        default=None,
    )
    budget: Num = schema.quantity("currency/h", "most that a plan may cost", default=np.inf)
    power: Num = schema.quantity("W", "most that a plan may draw, hosts included", default=np.inf)
    rank: str = schema.choice(
        ("cost", "accelerators", "energy", "throughput"),
        "what plans are ranked by: cost per hour, accelerators, energy per token, throughput per accelerator",
        default="cost",
    )

    def __post_init__(self) -> None:
        """Check that limits and rates are above zero, periods have one length each, and one goal is set."""
        super().__post_init__()
        for name in ("rate", "duration", "ttft", "tpot", "latency", "budget", "power"):
            if getattr(self, name) is not None:
                value: FloatArray = np.asarray(getattr(self, name), dtype=np.float64)
                require(value > 0.0, value, name, "must be > 0")
        shape = () if self.rate is None else np.shape(self.rate)
        if 0 in shape:
            msg = f"rate must hold at least one number, got shape {shape}"
            raise InputError(msg)
        if self.duration is not None and np.shape(self.duration) != shape:
            msg = f"duration must have one length for each rate, got shapes {np.shape(self.duration)} and {shape}"
            raise InputError(msg)
        if self.duration is not None and shape == ():
            msg = f"duration needs rates of several periods, got {self.duration:g} with one rate"
            raise InputError(msg)
        beside = {} if self.attainment is None else self.given(_LEVELS)
        for name, level in beside.items():
            msg = f"attainment takes the place of percentiles, got {name} {level!r} beside it"
            raise InputError(msg)

    def check_rate(self) -> Num:
        """Return the rate, which there must be [1/s].

        Raises
        ------
        InputError
            If there is none.
        """
        if self.rate is None:
            msg = "objective must set the rate, requests per second, got none"
            raise InputError(msg)
        return self.rate

    def level(self, name: str) -> float | str:
        """Return what the limit on a time is on: ``"mean"``, or a percentile [1]."""
        asked = (self.attainment, getattr(self, f"{name}_percentile"), self.percentile)
        return next((level for level in asked if level is not None), _NINE_OF_TEN)

    def given(self, names: Sequence[str]) -> dict[str, object]:
        """Return those of some fields that do not hold their default."""
        default = {f.name: f.default for f in fields(self)}
        return {n: v for n in names if np.any((v := getattr(self, n)) != default[n])}

    def refuse(self, names: Sequence[str], what: str) -> None:
        """Refuse fields that a question would pass over.

        Parameters
        ----------
        names : sequence of str
            Fields.
        what : str
            Whose they are not, and where to go instead.

        Raises
        ------
        InputError
            If one of them is set.
        """
        for name, value in self.given(names).items():
            msg = f"objective.{name} is not for {what}, got {value!r:.80}"
            raise InputError(msg)


_OF = "Workload.of(prompt, output) takes numbers"


@dataclass(frozen=True, kw_only=True, eq=False)
class Workload(Record):
    """Traffic of one kind: lengths of prompt and output, and limits where its source names them.

    Examples
    --------
    >>> import genz
    >>> chat = genz.Workload.of(prompt=2000, output=300)
    >>> mix = genz.Workload.mix({chat: 0.5, genz.Workload.of(prompt=1000, output=100): 0.5})
    >>> mix.prompt.mean, mix.output.mean
    (1500.0, 200.0)
    """

    name: str = schema.text("name, equal to the file stem in the database", default="workload")
    prompt: Lengths = schema.record(Lengths, "tokens in, per request", hint=_OF)
    output: Lengths = schema.record(Lengths, "tokens generated, per request", hint=_OF)
    cached_share: Num = schema.quantity(
        "1", "share of the prompt found in the prefix cache", high=1.0, default=0.0
    )
    beams: Num = schema.count("beams of the search", default=1)
    objective: Objective | None = schema.record(
        Objective, "limits named with the workload", default=None
    )
    sources: tuple[Source, ...] = schema.records(
        Source, "where the values were read", default=(), shown=False
    )

    @classmethod
    def of(cls, prompt: Num | Lengths, output: Num | Lengths, **fields: object) -> Workload:
        """Return a workload in which every request has the same lengths, or lengths spread as said.

        Parameters
        ----------
        prompt, output : array_like, shape (...), or Lengths
            Tokens in and tokens generated, per request; ``Lengths(mean=2000, std=1500)`` where they vary. [tokens]
        **fields
            Further fields: ``name``, ``cached_share``, ``beams``, ``objective``.

        Raises
        ------
        InputError
            If a length is not a whole number in [1, 1e9].

        Examples
        --------
        >>> Workload.of(prompt=Lengths(mean=2000, std=1500), output=300).prompt.std
        1500.0
        """
        lengths = {}
        for name, value in (("prompt", prompt), ("output", output)):
            if isinstance(value, Lengths):
                lengths[name] = value
                continue
            array = number(name, value)
            ok = (array >= 1) & (array <= 1e9) & (array == np.floor(array))
            require(ok, array, name, "must be a whole number in [1, 1e+09]")
            lengths[name] = Lengths(mean=value)
        return cls(**lengths, **fields)  # type: ignore[arg-type]

    @classmethod
    def from_trace(cls, prompt: FloatLike, output: FloatLike, **fields: object) -> Workload:
        """Return the workload of recorded requests: mean, spread and percentiles of their lengths.

        Parameters
        ----------
        prompt, output : array_like, shape (n_request,)
            Tokens in and out of each request. [tokens]
        **fields
            Further fields of the record.

        Raises
        ------
        InputError
            If there is no request, the counts differ, or a length is below 1.
        """
        both = {"prompt": number("prompt", prompt), "output": number("output", output)}
        shapes = {array.shape for array in both.values()}
        if len(shapes) > 1 or next(iter(shapes)) in ((), (0,)) or len(next(iter(shapes))) > 1:
            found = ", ".join(f"{name} {array.shape}" for name, array in both.items())
            msg = f"a trace needs one prompt and one output for each request, got shapes {found}"
            raise InputError(msg)
        lengths = {name: _counted(name, array) for name, array in both.items()}
        return cls(**lengths, **fields)  # type: ignore[arg-type]

    @classmethod
    def mix(cls, parts: Mapping[Workload, float], **fields: object) -> Workload:
        r"""Return the workload of requests of several kinds, by their first two moments.

        Parameters
        ----------
        parts : mapping of Workload to float
            Kind of request -> its share, or its rate; normalised to 1.
        **fields
            Further fields of the record.

        Raises
        ------
        InputError
            If there is no part, a share is not above 0, or kinds have different beams.

        Notes
        -----
        :math:`m = \sum w_i m_i`, :math:`s^2 = \sum w_i (s_i^2 + m_i^2) - m^2`: all kinds share the replicas and their queues.
        The share of the prompt in the cache is that of all prompt tokens.
        """
        kinds = list(parts)
        if not kinds:
            msg = "a mix must have at least one part, got none"
            raise InputError(msg)
        for kind in kinds:
            if not isinstance(kind, Workload) or kind.varying():
                msg = f"parts of a mix must be Workloads of single numbers, got {kind!r:.80}"
                raise InputError(msg)
        share = number("share", [parts[k] for k in kinds])
        require(share > 0.0, share, "share", "must be > 0")
        share = share / share.sum()
        if len({int(k.beams) for k in kinds}) > 1:
            msg = f"parts of a mix must have the same beams, got {[int(k.beams) for k in kinds]}"
            raise InputError(msg)
        prompt = share @ np.array([float(k.prompt.mean) for k in kinds])
        hits = share @ np.array([float(k.prompt.mean * k.cached_share) for k in kinds])
        own = {
            "prompt": _pooled(share, [k.prompt for k in kinds]),
            "output": _pooled(share, [k.output for k in kinds]),
            "cached_share": float(hits / prompt),
            "beams": kinds[0].beams,
        }
        return cls(**(own | fields))


def _counted(name: str, tokens: FloatArray) -> Lengths:
    require(tokens >= 1.0, tokens, name, "must be >= 1 token")
    at = dict(
        zip(("median", "p90", "p95", "p99"), np.percentile(tokens, (50, 90, 95, 99)), strict=True)
    )
    return Lengths(mean=float(tokens.mean()), std=float(tokens.std()), **at)


def _pooled(share: FloatArray, parts: list[Lengths]) -> Lengths:
    mean = np.array([float(p.mean) for p in parts])
    std = np.array([0.0 if p.std is None else float(p.std) for p in parts])
    whole = float(share @ mean)
    return Lengths(mean=whole, std=float(np.sqrt(max(share @ (std**2 + mean**2) - whole**2, 0.0))))
