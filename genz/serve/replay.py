"""A plain event loop: requests one by one through continuous batching, step after step."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Unpack

import numpy as np

from genz.core import check
from genz.core.errors import InputError
from genz.core.typing import FloatArray, FloatLike
from genz.serve.deployment import Deployment, Options
from genz.serve.memory import memory
from genz.serve.software import first_token_time
from genz.serve.spread import Timed, latency_error, stated_error
from genz.serve.stationary import BUDGET, kernel_time, stretched_time
from genz.serve.step import mean_decode, mixed
from genz.spec.hardware import Platform
from genz.spec.model import Model

__all__ = ["Replayed", "replay"]

#: Contexts and chunks are rounded to so many tokens, so that steps that hardly differ are evaluated once; those below so many
#: times that are not. [tokens], [1]
_GRAIN, _COARSE = 8.0, 32.0
_NONE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Replayed(Timed):
    """What each request experienced; every field has shape (n_request,), errors are one for all.

    Attributes
    ----------
    arrival : ndarray
        When it was sent. [s]
    ttft, tpot, latency : ndarray
        Time to first token, mean time per further token, and time to last token. [s]
    ttft_error, tpot_error : float
        Standard deviation of the log of measured over predicted time. [1]
    """

    arrival: FloatArray
    ttft: FloatArray
    tpot: FloatArray
    latency: FloatArray
    ttft_error: float
    tpot_error: float

    @property
    def latency_error(self) -> FloatArray:
        """Standard deviation of the log of measured over predicted latency; the parts err together [1]."""
        return latency_error(self.ttft, self.latency, self.ttft_error, self.tpot_error)


def replay(
    model: Model,
    platform: Platform,
    *,
    prompt: FloatLike,
    output: FloatLike,
    arrival: FloatLike | None = None,
    n_client: int | None = None,
    **options: Unpack[Options],
) -> Replayed:
    """Return what requests experience on one replica that starts empty.

    Parameters
    ----------
    model : Model
        Model.
    platform : Platform
        Platform; scalar fields.
    prompt, output : array_like, shape (n_request,)
        Tokens in and out of each request. [tokens]
    arrival : array_like, shape (n_request,), optional
        Open loop: when each is sent, in order. [s]
    n_client : int, optional
        Closed loop: so many send the next request when their last one is done; all start together. [1]
    **options
        See :class:`genz.serve.deployment.Options`; scalar fields.

    Returns
    -------
    Replayed

    Raises
    ------
    InputError
        If not exactly one of ``arrival`` and ``n_client`` is given, a number breaks its rule, or shapes differ.

    Notes
    -----
    A step decodes all requests that have their first token and fills the rest of the engine's token budget with
    prompts, first come, first served, the last one in part. Requests are admitted while the engine's ``max_sequence``
    and the cache allow; a request holds its prompt and what it has generated, or all it will generate under the
    rule ``whole``. Steps that the engine waits are mean ones so far. None is evicted: the cache may run over while admitted requests grow. Attention groups share
    prompts evenly. Step times come from :func:`genz.serve.step.mixed` at mean chunk and context.
    """
    load = {
        "prompt": check.count("prompt", prompt),
        "output": check.count("output", output),
    }
    sizes = np.atleast_1d(load["prompt"]), np.atleast_1d(load["output"])
    if len(sizes[0]) != len(sizes[1]):
        msg = f"output must have as many entries as prompt, {len(sizes[0])}, got {len(sizes[1])}"
        raise InputError(msg)
    if (arrival is None) == (n_client is None):
        msg = "give either arrival (open loop) or n_client (closed loop)"
        raise InputError(msg)
    requests = [_Request(int(p), int(o)) for p, o in zip(*sizes, strict=True)]
    replica = _Replica(Deployment.of(model, platform, options).loaded)
    if n_client is not None:
        first = int(check.count("n_client", n_client))
        replica.waiting = deque(requests[first:])
        times = np.zeros(min(first, len(requests)))
    else:
        times = np.atleast_1d(check.at_least("arrival", arrival, 0.0, "s"))  # type: ignore[arg-type]
        if len(times) != len(requests):
            msg = f"arrival must have as many entries as prompt, {len(requests)}, got {len(times)}"
            raise InputError(msg)
    for time, request in zip(times, requests, strict=False):
        request.arrival = float(time)
        replica.coming.append(request)
    replica.run()
    return _replayed(requests, replica)


def _replayed(requests: list[_Request], replica: _Replica) -> Replayed:
    arrival, first, last = (
        np.array([getattr(r, n) for r in requests]) for n in ("arrival", "first", "last")
    )
    further = np.maximum([r.output - 1.0 for r in requests], 1.0)
    at, steps = replica.at, np.asarray(replica.erred / max(replica.stepped, 1e-300))
    ttft, tpot = (
        float(stated_error(fitted, steps, at.device_error))
        for fitted in (at.engine.ttft_error, at.engine.tpot_error)
    )
    return Replayed(arrival, first - arrival, (last - first) / further, last - arrival, ttft, tpot)


@dataclass(slots=True, eq=False)
class _Request:
    prompt: int
    output: int
    arrival: float = np.nan
    passed: int = 0
    made: int = 0
    first: float = np.nan
    last: float = np.nan


@dataclass(slots=True, eq=False)
class _Replica:
    """State of the loop: requests of clients that wait, to come, on their way, at the door, passing, and decoding.

    ``erred`` is the sum over steps of time and log error.
    """

    at: Deployment
    now: float = 0.0
    stepped: float = 0.0
    erred: float = 0.0
    n_step: int = 0
    waiting: deque[_Request] = field(default_factory=deque)
    coming: deque[_Request] = field(default_factory=deque)
    sent: list[tuple[float, int, _Request]] = field(default_factory=list)
    door: deque[_Request] = field(default_factory=deque)
    passing: list[_Request] = field(default_factory=list)
    decoding: list[_Request] = field(default_factory=list)
    known: dict[tuple[float, ...], tuple[float, float]] = field(default_factory=dict)
    n_sent: int = 0
    rooms: dict[float, float] = field(default_factory=dict)

    def send(self, request: _Request) -> None:
        """Send a request; it reaches the scheduler when the engine's front end is done with it."""
        found = request.arrival < self.now or self.door or self.passing or self.decoding
        step = self.stepped / max(self.n_step, 1) if found else 0.0
        added = first_token_time(self.at, request.prompt, step)
        heapq.heappush(self.sent, (request.arrival + float(added), self.n_sent, request))
        self.n_sent += 1

    def run(self) -> None:
        """Take steps until all requests are done."""
        while self.coming or self.sent or self.door or self.passing or self.decoding:
            if not (self.door or self.passing or self.decoding):
                self._skip()
            while self.coming and self.coming[0].arrival <= self.now:
                self.send(self.coming.popleft())
            while self.sent and self.sent[0][0] <= self.now:
                self.door.append(heapq.heappop(self.sent)[2])
            if self.door or self.passing or self.decoding:
                self._step()

    def _skip(self) -> None:
        """Let the time pass until the next request comes, or reaches the scheduler."""
        later = [r.arrival for r in list(self.coming)[:1]] + [time for time, *_ in self.sent[:1]]
        self.now = max(self.now, min(later))

    def _step(self) -> None:
        chunks = self._chunks()
        time, error = self._time(chunks)
        self.now, self.stepped, self.n_step = self.now + time, self.stepped + time, self.n_step + 1
        self.erred += time * error
        done = []
        for request in self.decoding:
            request.made += 1
            if request.made >= request.output:
                done.append(request)
        self.decoding = [r for r in self.decoding if r.made < r.output]
        for request, size in chunks:
            request.passed += size
            if request.passed == request.prompt:
                request.first, request.made = self.now, 1
                self.passing.remove(request)
                (self.decoding if request.output > 1 else done).append(request)
        for request in done:
            request.last = self.now
            if self.waiting:
                self.waiting[0].arrival = self.now
                self.send(self.waiting.popleft())

    def _chunks(self) -> list[tuple[_Request, int]]:
        """Fill the token budget with prompts; admit those that there is room for."""
        limit = BUDGET if self.at.engine.max_token is None else float(self.at.engine.max_token)
        left = limit * float(np.asarray(self.at.parallel.data)) - len(self.decoding)
        chunks: list[tuple[_Request, int]] = []
        while left >= 1.0:
            if len(chunks) == len(self.passing):
                if not self.door or not self._room(self.door[0]):
                    break
                self.passing.append(self.door.popleft())
            request = self.passing[len(chunks)]
            size = int(min(left, request.prompt - request.passed))
            chunks.append((request, size))
            left -= size
        return chunks

    def _room(self, request: _Request) -> bool:
        inside = [*self.passing, *self.decoding]
        most = self.at.engine.max_sequence
        if most is not None and len(inside) >= float(most) * float(
            np.asarray(self.at.parallel.data)
        ):
            return False
        return not inside or self._fits([*inside, request])

    def _held(self, requests: list[_Request]) -> float:
        if self.at.engine.admission == "whole":
            return float(sum(r.prompt + r.output for r in requests))
        return float(sum(r.prompt + r.made for r in requests))

    def _fits(self, requests: list[_Request]) -> bool:
        """Whether memory holds requests as long as these are in the mean, windows and states as they are kept."""
        context = float(np.ceil(self._held(requests) / len(requests) / _GRAIN) * _GRAIN)
        if context not in self.rooms:
            at = self.at
            self.rooms[context] = float(
                memory(at.model, at.platform, context=context, **at.options).max_batch
            )
        return len(requests) <= self.rooms[context]

    def _time(self, chunks: list[tuple[_Request, int]]) -> tuple[float, float]:
        """Time of a step [s] and its log error [1], evaluated once for all that hardly differ."""
        batch, n_chunk = len(self.decoding), len(chunks)
        context = sum(r.prompt + r.made for r in self.decoding) / max(batch, 1)
        tokens = sum(size for _, size in chunks)
        before = sum(size * r.passed for r, size in chunks) / max(tokens, 1)
        context = _rounded(context)
        key = (batch, n_chunk, context, *(round(v / _GRAIN) for v in (tokens, before)))
        if key not in self.known:
            at = self.at
            load: dict[str, Any] = {"model": at.model, "platform": at.platform, **at.options}
            alone = None if not batch else mean_decode(batch=batch, context=context, **load)
            if n_chunk:
                step = mixed(
                    prefill_tokens=tokens / n_chunk,
                    prefill_cached=before,
                    prefill_batch=n_chunk,
                    decode_batch=max(batch, _NONE),
                    decode_context=context,
                    **load,
                )
                without = 0.0 if alone is None else kernel_time(alone)
                time = stretched_time(at, step, without)
                self.known[key] = float(time), float(step.log_error)
            elif alone is not None:
                self.known[key] = float(alone.time), float(alone.log_error)
        return self.known[key]


def _rounded(value: float) -> float:
    """Return a context that stands for all that hardly differ: the middle, not the first one, as contexts grow [tokens]."""
    return (value // _GRAIN + 0.5) * _GRAIN if value > _COARSE * _GRAIN else float(round(value))
