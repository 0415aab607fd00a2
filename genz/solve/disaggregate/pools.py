"""Workers of a model: rates within limits of every layout on every platform, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from genz.core.typing import FloatArray, Num
from genz.serve.decode_replica import DecodeLoad, DecodeReplica, decode_replica
from genz.serve.disaggregation import moved_bytes
from genz.serve.prefill_replica import PrefillReplica, prefill_replica
from genz.serve.stationary import BUDGET
from genz.solve.disaggregate.within import Decoding, Passing, Question, largest, reached
from genz.solve.sizing.candidates import Candidates
from genz.spec.deployment import Lengths, Parallel

__all__ = ["DecodePool", "PrefillPool"]

#: Most prompts that pass together.
_MOST_TOGETHER = 64
#: Load of a replica that is hardly used, of the most that it takes. [1]
_HARDLY = 1e-6


@dataclass(frozen=True, eq=False)
class _Pool:
    """All layouts of a phase, and what they are asked."""

    cases: Candidates
    question: Question

    @property
    def size(self) -> FloatArray:
        """Accelerators of a replica, shape (n_case,)."""
        return self.cases.size.astype(np.float64)

    @cached_property
    def layouts(self) -> list[Parallel]:
        """Layouts of a replica, one for each case."""
        return [self.cases.layout(case) for case in range(self.cases.n_case)]


@dataclass(frozen=True, eq=False)
class PrefillPool(_Pool):
    """All layouts that pass prompts; arrays of shape (n_together, n_case)."""

    @cached_property
    def budget(self) -> Num | None:
        """Tokens of a step at most, for each case or all; None: no limit."""
        return self.cases.engines.max_token

    @cached_property
    def together(self) -> FloatArray:
        """Prompts that may pass together: powers of two within the budget of a case, shape (n_together, n_case)."""
        budget = BUDGET if self.budget is None else self.budget
        most = np.clip(np.floor(budget / self.new), 1.0, _MOST_TOGETHER)
        power = np.broadcast_to(np.floor(np.log2(most)), (self.cases.n_case,))
        tried = np.arange(power.max() + 1.0)[:, np.newaxis]
        return np.asarray(np.exp2(np.minimum(tried, power)))

    @property
    def new(self) -> float:
        """Tokens of a prompt that pass, the last of them always."""
        traffic = self.cases.workload
        return max(_mean(traffic.prompt) * (1.0 - float(traffic.cached_share)), 1.0)

    @cached_property
    def moved(self) -> float:
        """Bytes of cache of a request [B]."""
        traffic = self.cases.workload
        found = moved_bytes(
            self.cases.model, prompt=_mean(traffic.prompt), precision=self.cases.precision,
            beams=traffic.beams,
        )  # fmt: skip
        return float(found)

    @property
    def link_time(self) -> FloatArray:
        """Time that the links of a replica are busy with one cache, shape (n_case,) [s]."""
        return self.question.link.busy(self.moved, self.size)

    @cached_property
    def replica(self) -> PrefillReplica:
        """Replicas of all cases."""
        traffic = self.cases.workload
        platform, parallel = self.cases.take(np.arange(self.cases.n_case))
        prompt = _mean(traffic.prompt)
        return prefill_replica(
            self.cases.model, platform, prompt=prompt, cached=prompt - self.new,
            batch=self.together, variation=_variation(traffic.prompt), beams=traffic.beams,
            parallel=parallel, precision=self.cases.precision, **self.cases.options,
        )  # fmt: skip

    def alone(self) -> float:
        """Return the least time to first token of a replica that is hardly used, at the level of its limit [s]."""
        replica = self.replica
        time = replica.ttft(_HARDLY * replica.most, self.question.levels["ttft"])
        return float(np.min(np.where(replica.fits, time, np.inf)))

    def passing(self, ceiling: Num) -> Passing:
        """Return the replicas under their limits, a part of that on latency left to the time to first token [s]."""
        return Passing(self.replica, self.question, self.link_time, ceiling)

    def arrivals(self, ceiling: FloatArray) -> FloatArray:
        """Return the arrivals per pass at which a limit or the ceiling is reached; 0 where none is within them.

        Shape (n_ceiling, n_together, n_case). The ceiling, shape (n_ceiling, 1, 1), is the part of the limit on latency that
        is left to the time to first token [s].
        """
        replica = self.replica
        # just below the load at which the queue has no end
        high = np.broadcast_to(
            replica.most * (1.0 - 1e-3), np.broadcast_shapes(ceiling.shape, replica.most.shape)
        )
        return np.where(replica.fits, largest(Passing.excess, self.passing(ceiling), high), 0.0)

    def gap(self, size: float) -> FloatArray:
        """Return what of a move shows, where the smaller replica has so many accelerators [s].

        The stages of a pipeline send their own layers while later ones compute; the last one decides.
        """
        replica, chunk = self.replica, np.inf if self.budget is None else self.budget
        stage = self.cases.degrees["pipeline"]
        pieces = np.ceil(self.cases.model.n_layer / stage) * np.maximum(
            np.ceil(self.new / chunk), 1.0
        )
        hit = 1.0 - self.new / _mean(self.cases.workload.prompt)
        sent = replica.most * self.moved
        return np.asarray(
            self.question.link.shown(sent, size, replica.together / stage, pieces, hit)
        )

    def limit(self, ceiling: FloatArray, arrivals: FloatArray) -> Any:
        """Return what forbids a larger rate, shape (n_ceiling, n_together, n_case)."""
        why = reached(self.passing(ceiling).used(arrivals))
        return np.where(why == "", "saturation", why)


@dataclass(frozen=True, eq=False)
class DecodePool(_Pool):
    """All layouts that decode; arrays of shape (n_class, n_case)."""

    moved: float

    @property
    def together(self) -> FloatArray:
        """Requests that a worker is made for: one at a time joins, shape (1, 1)."""
        return np.ones((1, 1))

    @property
    def link_time(self) -> FloatArray:
        """Time that the links of a replica are busy with one cache, shape (n_case,) [s]."""
        return self.question.link.busy(self.moved, self.size)

    @cached_property
    def replica(self) -> DecodeReplica:
        """Replicas of all cases."""
        traffic = self.cases.workload
        platform, parallel = self.cases.take(np.arange(self.cases.n_case))
        return decode_replica(
            self.cases.model, platform, prompt=_mean(traffic.prompt),
            output=_mean(traffic.output), variation=_variation(traffic.output),
            link=self.link_time, beams=traffic.beams, parallel=parallel,
            precision=self.cases.precision, **self.cases.options,
        )  # fmt: skip

    def alone(self) -> float:
        """Return the least time per token of a replica that is hardly used, caches there at once [s]."""
        room = self.replica.room
        load = self.replica.load(_HARDLY * np.maximum(room, 1.0))
        time = self.decoding(0.0).tpot(load, self.question.levels["tpot"])
        return float(np.min(np.where(room >= 1.0, time, np.inf)))

    def decoding(self, gap: Num, left: Num = np.inf) -> Decoding:
        """Return the replicas under their limits, caches a gap behind the first token, a part of the latency left [s]."""
        return Decoding(self.replica, self.question, self.link_time, gap, left)

    def batches(self, decoding: Decoding) -> FloatArray:
        """Return the mean batch at which a limit is reached, shape (n_class, n_case); 0 where none is within it."""
        room = self.replica.room
        shape = np.broadcast_shapes(np.shape(decoding.gap), room.shape)
        high = np.broadcast_to(np.maximum(room, 1e-6), shape)
        return largest(Decoding.excess, decoding, high)

    def limit(self, decoding: Decoding, load: DecodeLoad) -> Any:
        """Return what forbids a larger rate, shape (n_class, n_case)."""
        used = decoding.used(load)
        # short of room, the wait at the door lengthens the mean time per token
        used["memory"] = np.maximum(used["memory"], load.door.wait > 0.01 * load.step)
        why = reached(used)
        shares = np.stack([np.broadcast_to(share, why.shape) for share in used.values()])
        most = np.array(list(used))[np.argmax(shares, axis=0)]
        # a step that jumps with its batch breaks a limit before it is full
        return np.where(why == "", most, why)


def _mean(lengths: Lengths) -> float:
    return float(lengths.mean)


def _variation(lengths: Lengths) -> float:
    return 0.0 if lengths.std is None else float(lengths.std / lengths.mean) ** 2
