"""Sets of workers that fit together: the time to first token of one phase and the gap before the other are shared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from genz.core.typing import BoolArray, FloatArray
from genz.solve.disaggregate.dominance import undominated
from genz.solve.disaggregate.pools import DecodePool, PrefillPool
from genz.solve.disaggregate.within import Question
from genz.solve.disaggregate.worker import Worker
from genz.spec.deployment import Objective

__all__ = ["Place", "Sets"]

#: Ceilings on the time to first token that are tried where only the latency, its sum with decoding, is limited.
_CEILINGS = 16
#: Part of the time per token to which the gap before the second token is rounded up, and of a long gap itself. [1]
_GRAIN, _PART = 1e-3, 0.05
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands in the arrays of its pool."""

    together: int
    case: int


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """Alternative sets of workers, and where each worker comes from.

    Attributes
    ----------
    prefill, decode : PrefillPool, DecodePool
        All layouts.
    sets : tuple of tuples of Worker
        Alternatives; within one, any prefill worker may send to any decode worker.
    places : tuple of mappings
        Phase and name of a worker -> its place, for each set.
    """

    prefill: PrefillPool
    decode: DecodePool
    sets: tuple[tuple[Worker, ...], ...]
    places: tuple[dict[tuple[str, str], Place], ...]

    @classmethod
    def of(cls, prefill: PrefillPool, decode: DecodePool, objective: Objective) -> Sets:
        """Return the sets under the limits of an objective.

        Notes
        -----
        The latency limits the sum of both phases, so several ceilings on the time to first token are tried, each
        with what it leaves per token. What of a move shows depends on the smaller replica: each size is tried as the
        least, and each gap, rounded up to a thousandth of the time per token or a twentieth of itself, as the longest.
        """
        question = replace(prefill.question, objective=objective)
        prefill = PrefillPool(prefill.cases, question)
        decode = DecodePool(decode.cases, question, decode.moved)
        ceilings = _ceilings(prefill, question)
        left = _per_token(decode, question, ceilings)
        found = _with_ceilings(prefill, decode, ceilings[left > 0.0], left[left > 0.0])
        return cls(prefill, decode, tuple(s for s, _ in found), tuple(p for _, p in found))

    def place(self, workers: Any) -> dict[tuple[str, str], Place]:
        """Return the places of the set that holds these workers."""
        for one, where in zip(self.sets, self.places, strict=True):
            if all(any(w is x for x in one) for w in workers):
                return where
        raise LookupError


def _ceilings(prefill: PrefillPool, question: Question) -> FloatArray:
    """Ceilings on the time to first token that are worth a try, longest first."""
    ttft, latency = question.limit("ttft"), question.limit("latency")
    if latency == np.inf:
        return np.array([ttft])
    replica = prefill.replica
    first = replica.ttft(_TINY, question.levels["latency"])
    least = np.where(replica.fits, first, np.inf).min()
    most = min(ttft, latency)
    if not least < most:
        return np.array([most])
    return np.geomspace(most, least * 1.01, _CEILINGS)


def _per_token(decode: DecodePool, question: Question, ceilings: FloatArray) -> FloatArray:
    """Return what the latency leaves for a further token; infinite if it is not limited [s]."""
    if not question.sums:
        return np.full(ceilings.shape, np.inf)
    further = float(decode.cases.workload.output.mean) - 1.0
    return np.asarray((question.limit("latency") - ceilings) / further)


def _with_ceilings(
    prefill: PrefillPool, decode: DecodePool, ceilings: FloatArray, left: FloatArray
) -> list[tuple[tuple[Worker, ...], dict[tuple[str, str], Place]]]:
    """Return the sets with each ceiling on the time to first token, and what it leaves per token; shape (n_ceiling,)."""
    if not ceilings.size:
        return []
    ceiling = ceilings[:, np.newaxis, np.newaxis]
    arrivals = prefill.arrivals(ceiling)
    limit = np.minimum(decode.question.limit("tpot"), left)
    grain = _GRAIN * limit * (float(decode.cases.workload.output.mean) - 1.0)
    classes = [
        (i, size, gap)
        for i, usable in enumerate(arrivals > 0.0)
        for size, gap in _classes(prefill, decode, usable, grain[i])
    ]
    passing = _prefill_rows(prefill, ceiling, arrivals)
    at, gap = np.array([i for i, _, _ in classes]), np.array([g for _, _, g in classes])
    decoding = _decode_rows(decode, gap[:, np.newaxis], left[at, np.newaxis])
    out = []
    for row, (i, size, longest) in enumerate(classes):
        shown = _rounded(prefill.gap(size), grain[i])
        here = (arrivals[i] > 0.0) & (prefill.size >= size) & (shown <= longest * (1.0 + 1e-9))
        first = _workers(prefill, "prefill", {k: v[i] for k, v in passing.items()}, here)
        some = decoding["some"][row] & (decode.size >= size)
        both = [*first, *_workers(decode, "decode", {k: v[row] for k, v in decoding.items()}, some)]
        where = {(w.phase, w.name): Place(k, j) for w, k, j in both}
        out.append((tuple(w for w, _, _ in both), where))
    return out


def _classes(
    prefill: PrefillPool, decode: DecodePool, usable: BoolArray, grain: float
) -> list[tuple[float, float]]:
    """Return the least size and the longest gap of each set; of equal gaps that with the least size is the largest.

    Without a prefill worker the decode workers are those of any size, with no gap.
    """
    found: dict[float, float] = {}
    sizes = np.unique(np.concatenate([prefill.size[usable.any(axis=0)], decode.size]))
    for size in sizes:
        here = usable & (prefill.size >= size)
        for gap in np.unique(_rounded(prefill.gap(float(size)), grain)[here]):
            found.setdefault(float(gap), float(size))
    return [(size, gap) for gap, size in found.items()] or [(1.0, 0.0)]


def _rounded(gap: FloatArray, grain: float) -> FloatArray:
    """Round up to whole grains, long gaps by a twentieth at most; without a limit all gaps are alike."""
    if not np.isfinite(grain):
        return np.full(gap.shape, gap.max())
    long = grain / _PART
    power = np.log(np.maximum(gap / long, 1.0)) / np.log1p(_PART)
    coarse = long * (1.0 + _PART) ** np.ceil(power - 1e-9)
    return np.where(gap > long, coarse, np.ceil(gap / grain * (1.0 - 1e-12)) * grain)


def _prefill_rows(
    prefill: PrefillPool, ceiling: FloatArray, arrivals: FloatArray
) -> dict[str, Any]:
    some = np.maximum(arrivals, _TINY)
    return {
        "rate": prefill.replica.rate(some),
        "power": prefill.replica.power(some),
        "limit": prefill.limit(ceiling, some),
    }


def _decode_rows(decode: DecodePool, gap: FloatArray, left: FloatArray) -> dict[str, Any]:
    decoding = decode.decoding(gap, left)
    batch = decode.batches(decoding)
    load = decode.replica.load(np.maximum(batch, _TINY))
    return {
        "rate": load.rate[:, np.newaxis],
        "power": load.power[:, np.newaxis],
        "limit": decode.limit(decoding, load)[:, np.newaxis],
        "some": (batch > 0.0)[:, np.newaxis],
    }


def _workers(
    pool: PrefillPool | DecodePool, phase: str, rows: dict[str, Any], some: BoolArray
) -> list[tuple[Worker, int, int]]:
    """Return the workers that no other of their platform replaces, with their places."""
    cases, together = pool.cases, np.broadcast_to(pool.together, some.shape)
    chosen = np.argwhere(some)
    at = tuple(chosen.T)
    size = np.broadcast_to(pool.size, some.shape)
    place = np.broadcast_to(cases.index, some.shape)
    costs = [size[at]]
    if pool.question.watts:
        costs.append(rows["power"][at])
    kept = undominated(place[at].astype(str).tolist(), rows["rate"][at], costs)
    found = []
    for k, j in chosen[kept]:
        platform, layout = cases.platforms[place[k, j]], pool.layouts[j]
        n, price = int(size[k, j]), platform.price
        more = f", {together[k, j]:g} prompts at once" if together[k, j] > 1.0 else ""
        worker = Worker(
            name=f"{platform.name} {layout.label}{more}", phase=phase, n_accelerator=n,
            rate=float(rows["rate"][k, j]), cost_per_hour=None if price is None else float(price) * n,
            power=float(rows["power"][k, j]), platform=platform.name,
            limit=str(rows["limit"][k, j]), parallel=layout,
        )  # fmt: skip
        found.append((worker, int(k), int(j)))
    return found
