"""Number of weights of every model against what its publishers, or others, counted."""

from pathlib import Path

import pandas as pd
import pytest

from genz.db import registry

PUBLISHED = Path(__file__).resolve().parents[1] / "published"
COUNTS = ("n_parameter", "n_active_parameter")
FILES = sorted(PUBLISHED.glob("parameters_*.csv"))


def read(file):
    return pd.read_csv(file, comment="#", dtype=dict.fromkeys(COUNTS, "Int64"))


def cases():
    for file in FILES:
        for row in read(file).itertuples():
            for field in COUNTS:
                if not pd.isna(count := getattr(row, field)):
                    yield pytest.param(
                        row.model,
                        field,
                        int(count),
                        float(row.relative_tolerance),
                        id=f"{row.model}-{field}",
                    )


@pytest.mark.paper
@pytest.mark.parametrize(("model", "field", "published", "relative_tolerance"), list(cases()))
def test_count_of_weights_is_the_published_one(model, field, published, relative_tolerance):
    counted = getattr(registry.model(model), field)
    assert abs(counted - published) <= relative_tolerance * published


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_row_has_a_count_a_tolerance_and_a_source(file):
    table = read(file)
    assert table.model.is_unique
    assert table[list(COUNTS)].notna().any(axis=1).all()
    assert table.relative_tolerance.between(0.0, 0.25).all()
    assert table.source.str.len().gt(0).all()
