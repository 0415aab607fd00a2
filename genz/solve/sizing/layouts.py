"""Which layouts of a replica are worth a look."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache, partial, reduce

from genz.ops.even import even_rules
from genz.spec.deployment import Parallel
from genz.spec.hardware import Platform
from genz.spec.model import Model
from genz.spec.precision import Precision

__all__ = ["layouts"]

#: Largest replica and longest pipeline that a search considers.
LARGEST_REPLICA, LONGEST_PIPELINE = 64, 16


def layouts(
    model: Model, platform: Platform, precision: Precision, *, pads_vocabulary: bool
) -> Iterator[dict[str, int]]:
    """Yield the layouts in which a model divides evenly on a platform.

    Tensor degrees are those of :func:`genz.ops.even.even_rules` and stay inside the
    innermost network dimension; pipeline degrees divide the layers. Mixtures of experts are also laid out
    with data-parallel attention, the experts then dealt to all accelerators of the stage.

    Parameters
    ----------
    model : Model
        What is laid out.
    platform : Platform
        Where; scalar fields.
    precision : Precision
        Formats: blocks of weights that share a scale stay whole.
    pads_vocabulary : bool
        Whether the software pads a vocabulary to any tensor degree, as ``Engine.pads_vocabulary``.

    Yields
    ------
    dict
        Degrees ``tensor``, ``pipeline``, ``data`` and ``expert``.
    """
    room = min(int(platform.n_accelerator), LARGEST_REPLICA)
    inner = int(platform.network[0].size) if platform.network else 1
    n_expert = reduce(math.gcd, (e.n_expert for _, e in model.expert_groups()), 0)
    degrees = _tensors(model, precision, min(inner, room), pads_vocabulary=pads_vocabulary)
    for tensor, whole in degrees:
        for pipeline in _divisors(model.n_layer, min(room // tensor, LONGEST_PIPELINE)):
            if whole:
                yield {"tensor": tensor, "pipeline": pipeline, "data": 1, "expert": 1}
            if not n_expert:
                continue
            if tensor > 1 and n_expert % tensor == 0:
                yield {"tensor": tensor, "pipeline": pipeline, "data": 1, "expert": tensor}
            for data in _divisors(n_expert, room // (tensor * pipeline)):
                stage = data * tensor
                if data > 1 and n_expert % stage == 0:
                    yield {"tensor": tensor, "pipeline": pipeline, "data": data, "expert": stage}


def _divisors(number: int, most: int) -> list[int]:
    return [n for n in range(1, most + 1) if number % n == 0]


@lru_cache(maxsize=64)
def _tensors(
    model: Model, precision: Precision, most: int, *, pads_vocabulary: bool
) -> tuple[tuple[int, bool], ...]:
    """Return even tensor degrees, and whether each expert may be cut among so many ranks."""
    degrees = range(1, most + 1)
    even = partial(_even, model, precision, pads_vocabulary=pads_vocabulary)
    whole = [t for t in degrees if even(Parallel(tensor=t))]
    dealt = [t for t in degrees if even(Parallel(tensor=t, expert=t))]
    return tuple((t, t in whole) for t in dealt)


def _even(model: Model, precision: Precision, parallel: Parallel, *, pads_vocabulary: bool) -> bool:
    rules = even_rules(model, parallel, precision, pads_vocabulary=pads_vocabulary)
    return all(ok for ok, *_ in rules)
