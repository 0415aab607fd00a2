from pathlib import Path

import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "published"


@pytest.fixture
def published():
    """Return a reader of published tables; texts keep the digits as printed."""

    def read(name, *, printed=()):
        return pd.read_csv(FOLDER / f"{name}.csv", comment="#", dtype=dict.fromkeys(printed, str))

    return read


@pytest.fixture
def assert_prints():
    """Check that a number, rounded like a printed one, is that one."""

    def check(value, text):
        decimals = len(text.partition(".")[2])
        assert abs(value - float(text)) <= 0.5001 * 10.0**-decimals, f"{value} prints not as {text}"

    return check
