"""Which layouts of a replica are worth a look."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import reduce

from genz.spec.hardware import Platform
from genz.spec.model import (
    Attention,
    Experts,
    LatentAttention,
    LinearAttention,
    Model,
    StateSpace,
)

__all__ = ["layouts"]

#: Largest replica and longest pipeline that a search considers.
LARGEST_REPLICA, LONGEST_PIPELINE = 64, 16


def layouts(model: Model, platform: Platform) -> Iterator[dict[str, int]]:
    """Yield the layouts in which a model divides evenly on a platform.

    Tensor degrees divide the query heads and inner widths, powers of two or not, and stay inside the
    innermost network dimension; pipeline degrees divide the layers. Mixtures of experts are also laid out
    with data-parallel attention, the experts then dealt to all accelerators of the stage.

    Parameters
    ----------
    model : Model
        What is laid out.
    platform : Platform
        Where; scalar fields.

    Yields
    ------
    dict
        Degrees ``tensor``, ``pipeline``, ``data`` and ``expert``.
    """
    room = min(int(platform.n_accelerator), LARGEST_REPLICA)
    inner = int(platform.network[0].size) if platform.network else 1
    n_expert = reduce(math.gcd, (e.n_expert for _, e in model.expert_groups()), 0)
    for tensor in _divisors(_common(model), min(inner, room)):
        for pipeline in _divisors(model.n_layer, min(room // tensor, LONGEST_PIPELINE)):
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


def _common(model: Model) -> int:
    """Greatest common divisor of all that tensor ranks share out."""
    parts: list[int] = []
    for group in model.groups:
        mixer, feed = group.mixer, group.feed_forward
        if isinstance(mixer, Attention | LatentAttention):
            parts.append(mixer.n_head)
        elif isinstance(mixer, LinearAttention):
            parts.append(mixer.n_value_head)
        elif isinstance(mixer, StateSpace):
            parts.append(mixer.n_head if mixer.version == 2 else mixer.inner)
        if feed is not None and not isinstance(feed, Experts):
            parts.append(feed.width)
    return reduce(math.gcd, parts)
