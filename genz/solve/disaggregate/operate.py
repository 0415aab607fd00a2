"""A set of workers under its rate: the times of requests, power and cost."""

from __future__ import annotations

import numpy as np

from genz.serve.spread import latency_error
from genz.solve.disaggregate.answer import DisaggregatedPlan, Pool
from genz.solve.disaggregate.pools import DecodePool, PrefillPool
from genz.solve.disaggregate.sets import Place, Sets
from genz.solve.disaggregate.worker import Split, Worker
from genz.solve.sizing.criterion import holds
from genz.spec.deployment import Parallel

__all__ = ["operated"]


def operated(sets: Sets, split: Split) -> DisaggregatedPlan:
    """Return the plan of a split, every worker with the same share of its capacity in use.

    Parameters
    ----------
    sets : Sets
        Where the workers come from.
    split : Split
        Numbers of workers.
    """
    places = sets.place(split.counts)
    prefill, decode = sets.prefill, sets.decode
    first = [
        _prefill_pool(prefill, w, n, places[w.phase, w.name], split)
        for w, n in split.of("prefill").items()
    ]
    smallest = min(w.n_accelerator for w in split.counts)
    gaps = prefill.gap(float(smallest))
    gap = max(
        gaps[places[w.phase, w.name].together, places[w.phase, w.name].case]
        for w in split.of("prefill")
    )
    second = [
        _decode_pool(decode, w, n, places[w.phase, w.name], split, float(gap))
        for w, n in split.of("decode").items()
    ]
    return _plan(sets, split, [first, second], float(gap))


def _share(split: Split, worker: Worker) -> float:
    return worker.rate * split.rate / split.capacity(worker.phase)


def _prefill_pool(
    pool: PrefillPool, worker: Worker, n: int, place: Place, split: Split
) -> tuple[Pool, float]:
    """Return the pool, and its time at the level of the limit on latency [s]."""
    replica, levels = pool.replica, pool.question.levels
    at = (place.together, place.case)
    rate = _share(split, worker)
    arrivals = replica.arrivals(np.full(replica.most.shape, rate))
    own, late = (float(replica.ttft(arrivals, levels[n])[at]) for n in ("ttft", "latency"))
    found = Pool(
        phase="prefill", platform=worker.platform, parallel=worker.parallel or Parallel(), n_replica=n,
        n_accelerator=n * worker.n_accelerator,
        batch=float(np.maximum(arrivals, 1.0)[at]), rate=rate, max_rate=worker.rate,
        time=float(replica.ttft(arrivals)[at]), percentile=None if levels["ttft"] is None else own,
        power=n * float(replica.power(arrivals)[at]), limit=worker.limit,
        log_error=float(replica.log_error[at]),
    )  # fmt: skip
    return found, late


def _decode_pool(
    pool: DecodePool, worker: Worker, n: int, place: Place, split: Split, gap: float
) -> tuple[Pool, float]:
    """Return the pool, and its time at the level of the limit on latency [s]."""
    levels, rate = pool.question.levels, _share(split, worker)
    one = pool.decoding(gap).some((pool.cases.n_case,), np.array([place.case]))
    load = one.replica.load(np.maximum(one.below(rate), 1e-9))
    mean, own, late = (
        float(one.tpot(load, q)[0]) for q in (None, levels["tpot"], levels["latency"])
    )
    found = Pool(
        phase="decode", platform=worker.platform, parallel=worker.parallel or Parallel(), n_replica=n,
        n_accelerator=n * worker.n_accelerator, batch=float(load.batch[0]), rate=rate,
        max_rate=worker.rate, time=mean, percentile=None if levels["tpot"] is None else own,
        power=n * float(load.power[0]), limit=worker.limit,
        log_error=float(load.log_error[0]),
    )  # fmt: skip
    return found, late


def _plan(
    sets: Sets, split: Split, found: list[list[tuple[Pool, float]]], gap: float
) -> DisaggregatedPlan:
    cases = sets.prefill.cases
    first, second = ([pool for pool, _ in some] for some in found)
    pools = (*first, *second)
    output = float(cases.workload.output.mean)
    ttft, tpot = _mean(first), _mean(second)
    latency = ttft + (output - 1.0) * tpot
    errors = {"ttft_error": _error(first), "tpot_error": _error(second)}
    errors["latency_error"] = float(latency_error(ttft, latency, *errors.values()))
    headroom, probability = _limits(sets, found)
    power, cost = sum(p.power for p in pools), split.cost_per_hour
    tokens = split.rate * output
    return DisaggregatedPlan(
        platform="+".join(dict.fromkeys(p.platform for p in pools)), model=cases.model.name,
        engine=cases.engine.name, pools=pools, precision=cases.precision, n_accelerator=split.n_accelerator,
        n_replica=sum(p.n_replica for p in pools), rate=split.rate,
        max_rate=min(split.capacity(p) for p in ("prefill", "decode")), ttft=ttft, tpot=tpot, latency=latency, gap=gap,
        moved=sets.decode.moved, throughput=tokens, cost_per_hour=cost,
        cost_per_million_token=None if cost is None else cost / 3600.0 / tokens * 1e6, power=power,
        energy_per_token=power / tokens, binding_limit=split.binding,
        headroom=headroom, probability=probability, **errors,
        log_error=max(p.log_error for p in pools),
    )  # fmt: skip


def _mean(pools: list[Pool]) -> float:
    """Mean over requests of the time of their pool [s]."""
    weight = [p.n_replica * p.rate for p in pools]
    return float(np.average([p.time for p in pools], weights=weight))


def _error(pools: list[Pool]) -> float:
    """Log error of the mean over requests of the time of their pool; pools err together [1]."""
    weight = [p.n_replica * p.rate * p.time for p in pools]
    return float(np.average([p.log_error for p in pools], weights=weight))


def _limits(
    sets: Sets, found: list[list[tuple[Pool, float]]]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the share of each limit that is left in the slowest pool, and the probability that it holds there."""
    question = sets.prefill.question
    further = float(sets.prefill.cases.workload.output.mean) - 1.0
    (ttft, first), (tpot, second) = (max(_asked(pool) for pool, _ in some) for some in found)
    late = [max(time for _, time in some) for some in found]
    whole = late[0] + further * late[1]
    worst = {
        "ttft": (ttft, first),
        "tpot": (tpot, second),
        "latency": (whole, float(latency_error(late[0], whole, first, second))),
    }
    limits = {n: v for n in worst if np.isfinite(v := question.limit(n))}
    left = {n: 1.0 - worst[n][0] / v for n, v in limits.items()}
    return left, {n: float(holds(worst[n][0], v, worst[n][1])) for n, v in limits.items()}


def _asked(pool: Pool) -> tuple[float, float]:
    """Return the mean or the percentile that a limit is on [s], and its log error [1]."""
    return pool.time if pool.percentile is None else pool.percentile, pool.log_error
