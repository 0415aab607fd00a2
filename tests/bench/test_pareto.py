"""How fast: the frontier of a hundred thousand rows, few or all of them on it."""

import numpy as np
import pandas as pd
import pytest

import genz


@pytest.mark.parametrize("kind", ["random", "front"])
@pytest.mark.parametrize("n_objective", [2, 3, 4])
def test_frontier_of_a_large_table(benchmark, full, n_objective, kind):
    points = np.random.default_rng(0).random((100_000 if full else 100, n_objective))
    if kind == "front":
        points = -points / np.linalg.norm(points, axis=1)[:, None]
    names = [f"x{i}" for i in range(n_objective)]
    front = benchmark(genz.pareto, pd.DataFrame(points, columns=names), minimise=names)
    assert front.optimal.any()
    assert kind == "random" or front.optimal.all()
