"""The mean step of a replica under stationary load, and what a prompt waits for in it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from genz.core.elements import elements
from genz.core.typing import FloatArray, IntArray, Num
from genz.perf.energy import idle_power
from genz.serve.deployment import Deployment
from genz.serve.software import first_token_time
from genz.serve.step import Step, mean_decode, mixed

__all__ = [
    "BUDGET",
    "Point",
    "Traffic",
    "burst_step",
    "decode_step",
    "kernel_time",
    "made",
    "mean_step",
    "point_at",
    "stretched_energy",
    "stretched_time",
]

#: Token budget of a step where the engine names none, and the prompt is no longer. [tokens]
BUDGET = 8192.0

#: Decoding requests in a step of which none decodes: no field of a step may be zero.
_NONE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Requests as the mean value model sees them; arrays of the shape of the cases.

    Attributes
    ----------
    new, hit : ndarray
        Tokens of a prompt that pass, and that lie in the prefix cache. [tokens]
    output : ndarray
        Tokens generated. [tokens]
    beams : ndarray
        Beams of a request. [1]
    budget : ndarray
        Tokens of a step at most, over the attention groups of the replica. [tokens]
    client : ndarray
        Requests that circulate; infinite for an open loop. [1]
    variation, output_variation : ndarray
        Squared coefficient of variation of the prompt, and of the output. [1]
    """

    new: FloatArray
    hit: FloatArray
    output: FloatArray
    beams: FloatArray
    budget: FloatArray
    client: FloatArray
    variation: FloatArray
    output_variation: FloatArray

    def some(self, shape: tuple[int, ...], index: IntArray) -> Traffic:
        """Return some cases, by their place in the flattened shape of all."""
        return _some(self, shape, index)

    @property
    def further(self) -> FloatArray:
        """Decode steps of a request; a sliver where there are none, so that one code path serves [1]."""
        return np.maximum(self.output - 1.0, _NONE)

    @property
    def context(self) -> FloatArray:
        """Tokens that a request which decodes sees, in the mean over those in a step [tokens]."""
        return self.new + self.hit + made(self.output, self.output_variation)

    @property
    def most(self) -> FloatArray:
        """Prompts per step at which every step is full [1]."""
        return self.budget / self.new

    @property
    def others(self) -> FloatArray:
        """Share of the other requests that a request sees, (N - 1) / N [1]."""
        return 1.0 - 1.0 / self.client


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """Mean values at one load.

    Attributes
    ----------
    arrivals : ndarray
        Prompts per step. [1]
    batch : ndarray
        Requests that decode, in the mean over time. [1]
    tau : ndarray
        Mean step, as requests see it. [s]
    rate : ndarray
        Requests completed per second. [1/s]
    share : ndarray
        Steps in which prompts pass. [1]
    busy : ndarray
        Utilisation of the token budget: time for the prompts at full steps. [1]
    engine, wait, residual, queue, own : ndarray
        Time of a prompt in the engine's software, its wait for steps of scheduling and streaming, for the step in progress
        and for the prompts before it, and its own steps. [s]
    running : ndarray
        Probability that others decode when a prompt comes, so that it finds a step in progress, and waits for some. [1]
    service : ndarray
        Time of one prompt where steps are full. [s]
    idle_step : ndarray
        Step without a prompt. [s]
    power : ndarray
        Power while steps run. [W]
    """

    arrivals: FloatArray
    batch: FloatArray
    tau: FloatArray
    rate: FloatArray
    share: FloatArray
    busy: FloatArray
    engine: FloatArray
    wait: FloatArray
    residual: FloatArray
    queue: FloatArray
    own: FloatArray
    running: FloatArray
    service: FloatArray
    idle_step: FloatArray
    power: FloatArray
    log_error: FloatArray
    bound_index: FloatArray

    def at(self, index: int) -> Point:
        """Return the values at an index of the first axis."""
        return Point(*(getattr(self, f.name)[index] for f in fields(self)))

    def some(self, shape: tuple[int, ...], index: IntArray) -> Point:
        """Return some cases, by their place in the flattened shape of all."""
        return _some(self, shape, index)

    @property
    def active_ttft(self) -> FloatArray:
        """Mean time from admission to the first token [s]."""
        return self.engine + self.wait + self.residual + self.queue + self.own

    @property
    def inside(self) -> FloatArray:
        """Requests that decode, pass or wait for a step, in the mean over time [1]."""
        return self.batch + self.rate * self.active_ttft


R = TypeVar("R", Traffic, Point)


def made(output: Num, variation: Num = 0.0) -> FloatArray:
    r"""Return the tokens that requests which decode have made, in the mean over those in a step.

    Parameters
    ----------
    output : array_like, shape (...)
        Mean output :math:`O` of a request. [tokens]
    variation : array_like, shape (...), default 0
        Its squared coefficient of variation :math:`c^2`. [1]

    Returns
    -------
    ndarray, shape (...)
        :math:`E[O^2] / (2 E[O]) = O (1 + c^2) / 2`: a step finds a request as often as that one has steps, long ones
        more often, and each halfway (the inspection paradox; Feller, "An introduction to probability theory and its
        applications" II, 1971, VI.7). [tokens]
    """
    return np.asarray(np.asarray(output) * (1.0 + np.asarray(variation)) / 2.0)


def _some(record: R, shape: tuple[int, ...], index: IntArray) -> R:
    """Return a record of arrays that broadcast to a shape, at some places of it flattened."""
    return type(record)(*(elements(getattr(record, f.name), shape, index) for f in fields(record)))


def point_at(at: Deployment, load: Traffic, arrivals: FloatArray) -> Point:
    r"""Return the mean values where ``arrivals`` prompts pass per step.

    Parameters
    ----------
    at : Deployment
        What runs where.
    load : Traffic
        Requests.
    arrivals : ndarray, shape (...)
        Prompts per step :math:`a`, above 0 and at most ``load.most``. [1]

    Returns
    -------
    Point

    Notes
    -----
    Arrivals per step make the fixed point explicit: :math:`b = a (O - 1)` requests decode, and each sees
    :math:`1 + b (N-1)/N` in its steps. A share :math:`q = a L u / x` of the steps carries prompts, with
    :math:`x` tokens: a prompt alone, or its equal chunks, at least; the mean of the steps with an arrival,
    :math:`a L u / (1 - e^{-a})`; the token budget :math:`C` at most. Then

    .. math:: \tau_0 = (1 - q) T(b, 0) + q T(b, x), \qquad \lambda = a / \tau_0 .

    While a request decodes, no prompt of its own client passes, so it sees :math:`\tau = T(b, 0) + (\tau_0 - T(b, 0)) (N-1)/N`.
    In an open loop prompts wait for a step in progress, :math:`(1 - e^{-b}) T(b,0)/2`, as nobody decodes with the
    probability :math:`e^{-b}` of a Poisson number, and more where a step passes several prompts, and for the prompts
    before them, :math:`\rho S (1 + c^2) / (2 (1 - \rho))` with :math:`S = T(b, C) L u / C`, :math:`\rho = \lambda S`:
    M/G/1 with vacations [1]_, of prompts with coefficient of variation :math:`c`. In a closed loop a client sends its
    next prompt when a step has given it the last token: a long step brings no more prompts than a short one, so what
    prompts find before them is the same queue counted in steps, :math:`\rho = (a L u / C) (N-1)/N`; and no step is in
    progress, unless the engine takes its time first and one of the other clients decodes. A prompt's own chunks take
    :math:`n T(b, L u (1 + a) / n)`; all of their kernels are stretched as what prompts add where nobody decodes beside them.
    In a pipeline a chunk is in one of the :math:`m` micro-batches and passes all stages with it, beside :math:`b / m` requests;
    the next one follows in the micro-batch behind it, :math:`1 / m` of that time later, at most as many as there are stages.

    References
    ----------
    .. [1] B. T. Doshi, "Queueing systems with vacations, a survey", Queueing Systems 1, 1986.
    """
    mix = _Mix.of(load, arrivals)
    decoding = load.output > 1.0
    n_chunk = np.ceil(load.new / load.budget)
    micro = at.micro_batch
    own_tokens = np.minimum(
        load.new / n_chunk * (1.0 + arrivals / micro * load.others), load.budget
    )
    n_chunk = 1.0 + (n_chunk - 1.0) / np.minimum(micro, at.parallel.pipeline)
    idle = decode_step(at, load, mix.active)
    tokens = np.stack(np.broadcast_arrays(mix.passing, own_tokens, load.budget))
    way = at.through(tokens.ndim)
    active, kernels = mix.active, kernel_time(idle)
    if way is not at:
        active = np.stack(np.broadcast_arrays(active, active / micro, active))
        alone = kernel_time(decode_step(at.through(), load, active[1]))
        kernels = np.stack(np.broadcast_arrays(kernels, alone, kernels))
    steps = _prompt_step(way, load, active, tokens)
    base = np.where(decoding, idle.time, 0.0)
    busy, own, full = _beside(at, load, kernels, steps)
    share, step, tau = mix.share, *_steps(load, mix, idle, busy)
    rate = arrivals / step
    batch = rate * load.further * tau
    service = full * load.new / load.budget
    rho = np.minimum(rate * service, 1.0)
    closed = np.isfinite(load.client)
    several = np.where(closed, load.others, np.maximum(1.0 - load.new / load.budget, 0.0))
    seen = np.minimum(share * busy / step, 1.0)
    running = _running(load, batch)
    own = own + (1.0 - running) * _unstretched(at, load, kernels, steps)[1]
    residual = running * base / 2.0 + seen * several * np.maximum(busy - base, 0.0) / 2.0
    engine = first_token_time(at, load.new, 0.0 * tau)
    wait = running * (first_token_time(at, load.new, tau) - engine)
    met = np.where(closed, arrivals / load.most * load.others, rho)
    with np.errstate(divide="ignore"):
        queue = met * service * (1.0 + load.variation) / (2.0 * (1.0 - met))
    joule = stretched_energy(at, steps.energy[0], busy - steps.time[0])
    power = ((1.0 - share) * np.where(decoding, idle.energy, 0.0) + share * joule) / step
    heavy = share * busy > (1.0 - share) * base
    return Point(
        arrivals=arrivals, batch=batch, tau=tau, rate=rate, share=share, busy=rho,
        engine=engine, wait=wait,
        residual=np.where(closed & (engine + wait <= 0.0), 0.0, residual), queue=queue, own=n_chunk * own,
        running=running, service=service, idle_step=base, power=power,
        log_error=np.where(heavy, steps.log_error[0], idle.log_error),
        bound_index=np.where(heavy, steps.bound_index[0], idle.bound_index),
    )  # fmt: skip


def _running(load: Traffic, batch: FloatArray) -> FloatArray:
    """Return the probability that another request decodes: of a Poisson number, or of all other clients [1]."""
    each = np.minimum(batch / load.client, 1.0)
    with np.errstate(invalid="ignore"):
        closed = 1.0 - (1.0 - each) ** (load.client - 1.0)
    return np.where(np.isfinite(load.client), closed, -np.expm1(-batch))


def mean_step(at: Deployment, load: Traffic, arrivals: FloatArray) -> FloatArray:
    """Return ``tau`` of :func:`point_at` alone, at less than half the work [s]."""
    mix = _Mix.of(load, arrivals)
    idle = decode_step(at, load, mix.active)
    busy = _beside(at, load, kernel_time(idle), _prompt_step(at, load, mix.active, mix.passing))
    return _steps(load, mix, idle, busy)[1]


def _steps(load: Traffic, mix: _Mix, idle: Step, busy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the mean step, and the one that requests see, which meet the prompts of others alone [s]."""
    step = mix.mean(idle.time, busy)
    seen = idle.time + load.others * (step - idle.time)
    return step, np.where(load.output > 1.0, seen, step)


def burst_step(at: Deployment, load: Traffic, point: Point) -> FloatArray:
    """Return the step that passes as many prompt tokens as it may beside half of those that decode [s]."""
    active = _Mix.of(load, point.arrivals).active
    idle = decode_step(at, load, active)
    step = _prompt_step(at, load, active / 2.0, load.budget)
    return _beside(at, load, kernel_time(idle), step)


@dataclass(frozen=True, slots=True, eq=False)
class _Mix:
    """What steps are made of where ``arrivals`` prompts pass per step.

    Requests that decode as each of them sees it, prompt tokens of the steps that have any, and the share of the
    steps that do.
    """

    active: FloatArray
    passing: FloatArray
    share: FloatArray

    @classmethod
    def of(cls, load: Traffic, arrivals: FloatArray) -> _Mix:
        batch = arrivals * load.further
        active = np.where(load.output > 1.0, 1.0 + batch * load.others, _NONE)
        alone = load.new / np.ceil(load.new / load.budget)
        together = arrivals * load.new / -np.expm1(-arrivals)
        passing = np.clip(together, alone, load.budget)
        return cls(active, passing, np.minimum(arrivals * load.new / passing, 1.0))

    def mean(self, idle: FloatArray, busy: FloatArray) -> FloatArray:
        """Return the mean over steps without and with prompts."""
        return np.asarray((1.0 - self.share) * idle + self.share * busy)


def decode_step(at: Deployment, load: Traffic, active: FloatArray) -> Step:
    """Return the step in which ``active`` requests decode at the mean context."""
    prompt = load.new + load.hit
    return mean_decode(
        at.model,
        at.platform,
        batch=active,
        context=load.context,
        beams=load.beams,
        shared=prompt,
        **at.options,
    )


def _prompt_step(at: Deployment, load: Traffic, active: FloatArray, tokens: FloatArray) -> Step:
    prompt = load.new + load.hit
    chunk = np.minimum(load.new, load.budget)
    longer = (
        1.0 + load.variation
    )  # a token belongs to a long prompt more likely than to a short one
    return mixed(
        at.model,
        at.platform,
        prefill_tokens=chunk,
        prefill_cached=load.hit * longer + (load.new * longer - chunk) / 2.0,
        prefill_batch=tokens / chunk,
        decode_batch=active,
        decode_context=load.context,
        beams=load.beams,
        shared=prompt,
        **at.options,
    )


def kernel_time(step: Step) -> FloatArray:
    """Return the time of the kernels of a step, without launches and engine [s]."""
    return step.compute_time + step.memory_time + step.network_time


def _beside(at: Deployment, load: Traffic, idle: FloatArray, step: Step) -> FloatArray:
    """Return the time of a step with prompts, where the kernels of the step without them take ``idle`` [s]."""
    return stretched_time(at, step, np.where(load.output > 1.0, idle, 0.0))


def _unstretched(at: Deployment, load: Traffic, idle: FloatArray, step: Step) -> FloatArray:
    """Return what :func:`_beside` leaves out of the stretch where nobody decodes beside the prompts [s]."""
    return stretched_time(at, step, 0.0) - _beside(at, load, idle, step)


def stretched_time(at: Deployment, step: Step, without: Num) -> FloatArray:
    """Return the time of a step with the stretch of what prompts add to the kernels ``without`` them [s]."""
    added = np.maximum(kernel_time(step) - without, 0.0)
    return np.asarray(step.time + (at.engine.stretch_prompt - 1.0) * added)


def stretched_energy(at: Deployment, energy: Num, longer: Num) -> FloatArray:
    """Return the energy of steps that take so much ``longer`` for their prompts, at the power of an idle replica [J]."""
    size = np.asarray(at.parallel.size, dtype=np.float64)
    return np.asarray(energy + longer * idle_power(at.platform) * size)
