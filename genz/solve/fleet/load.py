"""Requests by size: buckets of prompt, output and rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import log, log1p, sqrt
from statistics import NormalDist

import numpy as np

from genz.core import check
from genz.core.errors import InputError
from genz.core.typing import FloatArray, FloatLike
from genz.db import registry
from genz.spec.deployment import Lengths, Objective, Workload
from genz.spec.model import Model

__all__ = ["OUTPUT_EDGES", "PROMPT_EDGES", "Load"]

#: Upper edges of the buckets of a trace: the request sizes of arXiv:2404.14527, figure 8. [tokens]
PROMPT_EDGES = (25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000)
OUTPUT_EDGES = (25, 100, 250, 500, 1000, 2000)

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """Requests of one service, in buckets of requests of the same size.

    Attributes
    ----------
    prompt, output : ndarray, shape (n_bucket,)
        Tokens in and out of the requests of a bucket. [tokens]
    rate : ndarray, shape (n_period, n_bucket)
        Requests per second in each period. [1/s]
    name : str
        Name of the service.
    pool : str
        Loads of the same pool share replicas; by default each load has its own.
    model : Model or None
        What is served; None: the model given to :func:`genz.fleet`.
    objective : Objective or None
        Limits on mean times; None: those given to :func:`genz.fleet`. With measured throughput they say within which limits
        it was measured, and are not checked.
    cached_share : float
        Share of the prompts found in the prefix cache. [1]
    beams : float
        Beams of the search. [1]
    """

    prompt: FloatArray
    output: FloatArray
    rate: FloatArray
    name: str = "load"
    pool: str = ""
    model: Model | None = None
    objective: Objective | None = None
    cached_share: float = 0.0
    beams: float = 1.0

    @classmethod
    def of(
        cls,
        prompt: FloatLike,
        output: FloatLike,
        rate: FloatLike,
        *,
        name: str = "load",
        pool: str | None = None,
        model: Model | str | None = None,
        objective: Objective | None = None,
        cached_share: float = 0.0,
        beams: float = 1.0,
    ) -> Load:
        """Return a load from sizes and rates that broadcast; buckets without requests are left out.

        Parameters
        ----------
        prompt, output : array_like
            Tokens in and out. [tokens]
        rate : array_like
            Requests per second. [1/s]
        name, pool : str, optional
            Name of the service, and of the replicas it shares.
        model : Model or str, optional
            What is served.
        objective : Objective, optional
            Limits.
        cached_share : float, default 0
            Share of the prompts found in the prefix cache. [1]
        beams : float, default 1
            Beams of the search. [1]

        Returns
        -------
        Load
            Of one period.

        Raises
        ------
        InputError
            If a number breaks its rule, nothing has a rate, or shapes do not broadcast.

        Examples
        --------
        >>> Load.of([[200], [2000]], [100, 500], 30 * np.array([[0.2, 0.1], [0.5, 0.2]])).n_bucket
        4
        """
        named = {
            "prompt": check.at_least("prompt", prompt, 1.0, "tokens"),
            "output": check.at_least("output", output, 1.0, "tokens"),
            "rate": check.at_least("rate", rate, 0.0, "1/s"),
        }
        shape = check.broadcast_shape(named)
        into, out, asked = (np.broadcast_to(v, shape).ravel() for v in named.values())
        used = asked > 0.0
        if not used.any():
            msg = "rate must be > 0 1/s in a bucket, got none"
            raise InputError(msg)
        return cls(
            into[used], out[used], asked[used][None, :], name, pool or name,
            None if model is None else registry.model(model), objective,
            float(check.fraction("cached_share", cached_share)), float(check.count("beams", beams)),
        )  # fmt: skip

    @classmethod
    def of_workload(
        cls,
        workload: Workload | str,
        rate: float,
        *,
        n_prompt: int = 10,
        n_output: int = 6,
        name: str | None = None,
        pool: str | None = None,
        model: Model | str | None = None,
        objective: Objective | None = None,
    ) -> Load:
        """Return the buckets of a workload: equal shares of log-normal lengths, prompt and output independent.

        Parameters
        ----------
        workload : Workload or str
            Statistics of prompt and output: the mean, with the standard deviation, the median or a percentile. A length of
            which only the mean is known makes one bucket. The workload's limits hold if ``objective`` is not given; its
            rates are not used.
        rate : float
            Requests per second. [1/s]
        n_prompt, n_output : int, default 10 and 6
            Buckets along each length.
        name, pool, model, objective
            See :meth:`of`; the default name is the workload's.

        Returns
        -------
        Load
            Its mean lengths are those of the workload, save for shares of less than one token, which count as one.

        Raises
        ------
        InputError
            If a number breaks its rule.
        UnknownNameError
            If there is no such workload.
        """
        found = registry.workload(workload)
        for field, value in found.varying().items():
            msg = f"{field} must be one number for a load, got shape {np.shape(value)}"
            raise InputError(msg)
        into = np.maximum(_parts(found.prompt, int(check.count("n_prompt", n_prompt))), 1.0)
        out = np.maximum(_parts(found.output, int(check.count("n_output", n_output))), 1.0)
        each = float(check.positive("rate", rate, "1/s")) / (into.size * out.size)
        if objective is None and found.objective is not None:
            objective = found.objective.replace(rate=None, duration=None)
        return cls.of(
            into[:, None], out, each, name=name or found.name, pool=pool, model=model,
            objective=objective, cached_share=float(found.cached_share), beams=float(found.beams),
        )  # fmt: skip

    @classmethod
    def of_requests(
        cls,
        prompt: FloatLike,
        output: FloatLike,
        rate: float,
        *,
        prompt_edges: Sequence[float] = PROMPT_EDGES,
        output_edges: Sequence[float] = OUTPUT_EDGES,
        name: str = "load",
        pool: str | None = None,
        model: Model | str | None = None,
        objective: Objective | None = None,
    ) -> Load:
        """Return the histogram of a trace; the size of a bucket is the mean of its requests.

        Parameters
        ----------
        prompt, output : array_like, shape (n_request,)
            Tokens in and out of each request. [tokens]
        rate : float
            Requests per second. [1/s]
        prompt_edges, output_edges : sequence of float
            Upper edges of the buckets; longer requests make one further bucket. [tokens]
        name, pool, model, objective
            See :meth:`of`.

        Returns
        -------
        Load

        Raises
        ------
        InputError
            If a number breaks its rule, edges do not increase, or the lengths differ in number.
        """
        into = np.atleast_1d(check.at_least("prompt", prompt, 1.0, "tokens"))
        out = np.atleast_1d(check.at_least("output", output, 1.0, "tokens"))
        if into.shape != out.shape or into.ndim != 1:
            msg = f"prompt and output must be two lists of one length, got shapes {into.shape} and {out.shape}"
            raise InputError(msg)
        column = np.searchsorted(_edges("output_edges", output_edges), out)
        row = np.searchsorted(_edges("prompt_edges", prompt_edges), into)
        place = row * (len(output_edges) + 1) + column
        _, bucket, number = np.unique(place, return_inverse=True, return_counts=True)
        total = float(check.positive("rate", rate, "1/s"))
        return cls.of(
            np.bincount(bucket, into) / number, np.bincount(bucket, out) / number,
            total * number / into.size, name=name, pool=pool, model=model, objective=objective,
        )  # fmt: skip

    @property
    def n_bucket(self) -> int:
        """Number of buckets."""
        return len(self.prompt)

    @property
    def n_period(self) -> int:
        """Number of periods."""
        return len(self.rate)

    @property
    def sizes(self) -> list[tuple[str, float, float]]:
        """Name of the load, prompt and output of each bucket; lengths in tokens."""
        return [
            (self.name, float(p), float(o)) for p, o in zip(self.prompt, self.output, strict=True)
        ]

    def over(self, factor: FloatLike) -> Load:
        """Return the same load over several periods, each with a multiple of the present rates.

        Parameters
        ----------
        factor : array_like, shape (n_period,)
            Rate of each period over the present one. [1]

        Returns
        -------
        Load

        Raises
        ------
        InputError
            If this load has several periods already, or a factor is below 0, or all are 0.
        """
        share = np.atleast_1d(check.at_least("factor", factor, 0.0))
        if self.n_period > 1 or share.ndim > 1 or not share.any():
            msg = f"factor must be one list, not all 0, for a load of one period, got shape {share.shape}"
            raise InputError(f"{msg} for {self.n_period}")
        return replace(self, rate=share[:, None] * self.rate)


def _edges(name: str, edges: Sequence[float]) -> FloatArray:
    array = np.atleast_1d(check.positive(name, edges, "tokens"))
    check.require(np.diff(array, prepend=0.0) > 0.0, array, name, "must increase")
    return array


def _parts(lengths: Lengths, n: int) -> FloatArray:
    """Return the means of n equal shares of a log-normal length [tokens]."""
    mean, width = float(lengths.mean), _log_width(lengths)
    if width == 0.0:
        return np.array([mean])
    ends = [-np.inf, *(_NORMAL.inv_cdf(k / n) for k in range(1, n)), np.inf]
    below = np.array([_NORMAL.cdf(z - width) if np.isfinite(z) else float(z > 0) for z in ends])
    return np.asarray(mean * n * np.diff(below))


def _log_width(lengths: Lengths) -> float:
    """Return the standard deviation of the logarithm of a log-normal length, from what is known of it [1]."""
    mean = float(lengths.mean)
    if lengths.std is not None:
        return sqrt(log1p((float(lengths.std) / mean) ** 2))
    if lengths.median is not None:
        return sqrt(2.0 * max(log(mean / float(lengths.median)), 0.0))
    for share, value in ((0.90, lengths.p90), (0.95, lengths.p95), (0.99, lengths.p99)):
        if value is not None:
            z, far = _NORMAL.inv_cdf(share), log(float(value) / mean)
            return float(z - sqrt(max(z * z - 2.0 * far, 0.0))) if far > 0.0 else 0.0
    return 0.0
