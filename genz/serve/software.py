"""What serving software adds to the kernels of a step, and what it hides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genz.core.typing import Num
from genz.perf.step import PassTime
from genz.spec.deployment import Engine

__all__ = ["as_run"]


def as_run(engine: Engine, passed: PassTime, host: Num) -> PassTime:
    r"""Return a pass as the engine runs it.

    Parameters
    ----------
    engine : Engine
        Serving software.
    passed : PassTime
        Time of its operators, kernels in isolation and overheads added up.
    host : array_like, shape (...)
        Part of the overhead that the host spends on layers and step. [s]

    Returns
    -------
    PassTime

    Notes
    -----
    Kernels take ``stretch`` times as long as in isolation, messages ``stretch_network``; of the fixed times of
    kernels ``launch_share`` shows. An engine that runs ahead launches kernels while earlier ones run, so
    :math:`T = \max(t_{host}, t_{kernels})` and what is added per request; else the two add up.
    """
    stretch, network, shown = engine.stretch, engine.stretch_network, engine.launch_share
    if not engine.run_ahead and not engine.shapes and stretch == network == shown == 1.0:
        return passed
    launch = passed.launched
    device = (passed.compute + passed.memory) * stretch + passed.network * network + shown * launch
    overhead = passed.overhead - (1.0 - shown) * launch
    if engine.run_ahead:
        overhead = overhead - np.minimum(host, device)
    return replace(
        passed,
        compute=passed.compute * stretch,
        memory=passed.memory * stretch,
        network=passed.network * network,
        overhead=overhead,
    )
