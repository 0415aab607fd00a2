"""Work of one forward pass from plain numbers, and its parts by operator."""

import numpy as np
import pytest

from genz.ops.forward import forward
from genz.ops.site import Site
from genz.ops.stream import Stream
from genz.spec.deployment import Parallel, Routing
from genz.spec.precision import Precision


def make_stream(phase, batch, new, cached, beams=1, shared=None, logits=1):
    values = (batch, new, cached, beams, cached if shared is None else shared, logits)
    return Stream(phase, *(np.atleast_1d(np.asarray(v, dtype=float)) for v in values))


def make_work(
    model,
    streams,
    *,
    parallel=None,
    precision="bf16",
    routing=None,
    adapter=None,
    causal_skip=True,
):
    parallel = parallel or Parallel()
    degrees = {
        name: np.atleast_1d(np.asarray(getattr(parallel, name), dtype=float))
        for name in ("tensor", "sequence", "data", "expert")
    }
    site = Site(
        model=model,
        precision=Precision.of(precision),
        routing=routing or Routing(case="expected", skew=0.0),
        adapter=adapter,
        streams=tuple(make_stream(**s) for s in streams),
        causal_skip=causal_skip,
        **degrees,
    )
    return forward(site)


@pytest.fixture(scope="session")
def work_of():
    """Return work of the given streams, each a dictionary of plain numbers."""
    return make_work


@pytest.fixture(scope="session")
def decode_of():
    """Return work of a decode step."""

    def decode(model, *, batch=1, context=0, beams=1, shared=None, **options):
        stream = {"phase": "decode", "batch": batch, "new": 1, "cached": context}
        stream |= {"beams": beams, "shared": shared}
        return make_work(model, [stream], **options)

    return decode


@pytest.fixture(scope="session")
def prefill_of():
    """Return work of a prefill step."""

    def prefill(model, *, batch=1, prompt, cached=0, logits=1, **options):
        stream = {"phase": "prefill", "batch": batch, "new": prompt - cached, "cached": cached}
        return make_work(model, [stream | {"logits": logits}], **options)

    return prefill


@pytest.fixture(scope="session")
def sum_of():
    """Return the sum over operators, times their counts, of one field."""

    def total(work, field, keep=lambda operator: True):
        return sum(float(np.sum(o.count * getattr(o, field))) for o in work.operators if keep(o))

    return total


@pytest.fixture(scope="session")
def operator_of():
    """Return the only operator of a name in a layer group."""

    def pick(work, name, group=0):
        (found,) = (o for o in work.operators if o.name == name and o.group == group)
        return found

    return pick
