"""Measurements as frames: one set of columns for the tables, logs and benchmark results of many tools."""

from __future__ import annotations

from genz.solve.measured.files import PUBLISHED, Table, read_folder, read_measurements, read_table
from genz.solve.measured.operators import SHAPES, operator_rows
from genz.solve.measured.predict import ideal_time, predicted_time
from genz.solve.measured.runs import RUN_COLUMNS, run_rows

__all__ = [
    "PUBLISHED",
    "RUN_COLUMNS",
    "SHAPES",
    "Table",
    "ideal_time",
    "operator_rows",
    "predicted_time",
    "read_folder",
    "read_measurements",
    "read_table",
    "run_rows",
]
