"""Files of measurements: what they are, which device and software they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from genz.core.errors import GenzError, InputError, SchemaError, UnknownNameError
from genz.db import registry
from genz.solve.measured.benchmarks import is_result, json_runs, json_values
from genz.solve.measured.operators import OWN, SHAPES, is_operator_table, operator_rows
from genz.solve.measured.run_times import OPTIONS
from genz.solve.measured.runs import RUN_COLUMNS, database_model, is_run_table, run_rows

__all__ = [
    "DEVICES",
    "PUBLISHED",
    "Table",
    "platform_name",
    "read_folder",
    "read_measurements",
    "read_table",
]

#: Subset of published measurements that ships with the library; its header names source, licence and rule.
PUBLISHED = (
    Path(__file__).parent / "published_operators.csv",
    Path(__file__).parent / "published_runs.csv",
)

#: Device as tables name it -> platform of the database.
DEVICES = {
    "a100_sxm": "a100_sxm_8",
    "a100": "a100_sxm_8",
    "a100-80gb": "a100_sxm_8",
    "h100_sxm": "h100_sxm_8",
    "h100": "h100_sxm_8",
    "h100-80gb": "h100_sxm_8",
    "h200_sxm": "h200_sxm_8",
    "b200_sxm": "b200_8",
    "b300_sxm": "b300_8",
    "gb200": "gb200_nvl72",
    "gb300": "gb300_nvl72",
    "l40s": "l40s_8",
    "a40": "a40_8",
    "a6000": "a6000_8",
    "rtx3090": "rtx_3090_1",
    "h20": "h20_8",
    "h800": "h800_sxm_8",
    "rtx4090": "rtx_4090_8",
    "rtxpro6000": "rtx_pro_6000_8",
    "rtx_pro_6000_server": "rtx_pro_6000_8",
    "mi210": "mi210_8",
    "tpu-v6e-1": "tpu_v6e_1",
}


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of one file about one device.

    Attributes
    ----------
    name : str
        File.
    device, engine : str
        Device and software as the file names them; empty where the rows do.
    rows : DataFrame
        Own columns.
    """

    name: str
    device: str
    engine: str
    rows: pd.DataFrame


def platform_name(device: str) -> str:
    """Return the platform of the database that a table's device stands for."""
    return DEVICES.get(str(device).lower(), str(device))


def read_table(path: Path) -> Table | None:
    """Return one CSV file, packed or not, or None where its layout is none of those known.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    stem = path.name.split(".csv")[0]
    device, engine = _about(stem)
    head = _csv(path, rows=1)
    if is_run_table(list(head.columns)):
        rows = run_rows(_csv(path), path.name)
    elif is_operator_table(list(head.columns)):
        rows = operator_rows(_csv(path), path.name)
    else:
        return None
    if not device and "device" not in rows:
        return None
    if "device" in rows:
        device = ""
    if "engine" in rows:
        engine = ""
    if not engine and stem.startswith("vidur"):
        engine = "vidur"
    return Table(path.name, device, engine, rows)


#: Columns -> what a file is that holds no timings of operators or of runs.
_OTHER = (
    (("service", "t_s", "input_tokens", "output_tokens"), "a trace of requests, without times that they took"),
    (("phase", "a_ms", "b", "c"), "coefficients that others fitted, not what they measured"),
    (("prepare_inputs_e2e_mean", "ray_comm_time_mean"), "times of the host of an engine, none of kernels or of runs"),
    (("memory_fraction", "weights_gib", "activation_gib"), "memory, no times"),
    (("file", "given"), "a list of files"),
)  # fmt: skip


def _other(path: Path) -> str:
    """Return what a file is that is not read."""
    columns = set(_csv(path, rows=1).columns)
    named = (what for needed, what in _OTHER if set(needed) <= columns)
    return next(named, "layout not known")


def _about(stem: str) -> tuple[str, str]:
    """Device and software of a file named ``<op>_<device>_<engine><version>``."""
    known = sorted(DEVICES, key=len, reverse=True)
    found = re.search(rf"_({'|'.join(map(re.escape, known))})(?:_([a-z]+[\d.]+\w*))?$", stem)
    return (found.group(1), found.group(2) or "") if found else ("", "")


def read_folder(folder: str | Path, unread: list[str] | None = None) -> Iterator[Table]:
    """Yield the files of a folder whose layout is known, each read once; ``unread`` takes a line for each of the others.

    Raises
    ------
    InputError
        If it is no folder, or holds no file that is known.
    """
    place, found = Path(folder), False
    if not place.is_dir():
        msg = f"data must be a folder with tables, got {str(folder)!r}, which is none"
        raise InputError(msg)
    for path in sorted(place.glob("*.csv*")):
        table = read_table(path)
        if table is not None:
            found = True
            yield table
        elif unread is not None:
            unread.append(f"{path.name}: {_other(path)}")
    if not found:
        msg = f"no file in {place} has a known layout"
        raise InputError(msg)


#: Columns that may be stated for a file without them.
_FIELDS = {
    *RUN_COLUMNS, *OPTIONS, "n_request", "skew", "device", "engine", "format",
    *(column for shape in SHAPES.values() for column in shape),
}  # fmt: skip


def read_measurements(source: Any, **fields: Any) -> pd.DataFrame:
    """Return measurements in the own columns, of operators or of whole runs.

    Parameters
    ----------
    source : DataFrame, str, Path, mapping or sequence of these
        Rows, a file (CSV, packed or not, or JSON of a benchmark), a folder with such files, in which others are
        passed over, or what such a JSON file holds.
    **fields
        What the source does not say, such as ``model``, ``tensor``, ``batch``; ``model`` also stands in for names that
        the database does not know, as those that servers give models.

    Returns
    -------
    DataFrame
        Rows of operators where it has a column ``kernel``, else of runs.

    Raises
    ------
    InputError
        If a file cannot be read, its layout is unknown, or operators and runs are mixed.
    SchemaError
        If rows break the rules of their columns.
    UnknownNameError
        If one of ``fields`` is no column.
    """
    for name in fields:
        if name not in _FIELDS:
            raise UnknownNameError("column", name, _FIELDS)
    sources = source if isinstance(source, (list, tuple)) else [source]
    parts = [part for s in sources for part in _parts(s, fields)]
    if not parts:
        msg = "measurements must hold at least one row, got none"
        raise InputError(msg)
    if len({"kernel" in part for part in parts}) > 1:
        msg = "measurements must be timings of operators or whole runs, got both; calibrate on one after the other"
        raise InputError(msg)
    return pd.concat(parts, ignore_index=True)


def _parts(source: Any, fields: dict[str, Any]) -> list[pd.DataFrame]:
    """Return the rows of each table or file of a source."""
    if isinstance(source, (list, tuple)):
        return [part for s in source for part in _parts(s, fields)]
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        found = [f for f in sorted(Path(source).rglob("*")) if f.is_file() and _is_measured(f)]
        if not found:
            msg = f"no file in {source} is a table of measurements or the result of a benchmark"
            raise InputError(msg)
        return [part for file in found for part in _parts(file, fields)]
    place, frame = _opened(source)
    _check_known(frame, place)
    frame = _stated(frame, {k: v for k, v in fields.items() if v is not None})
    columns = list(frame.columns)
    if not is_operator_table(columns) and ("kernel" not in columns or is_run_table(columns)):
        return [run_rows(frame, place)]
    rows = operator_rows(frame, place)
    device = _about(place.split(".csv")[0])[0]
    if device and "device" not in rows and not set(columns) >= OWN:
        rows["device"] = device
    if rows.empty:
        msg = "measurements must hold at least one row, got none"
        raise InputError(msg)
    return [rows]


def _check_known(frame: pd.DataFrame, place: str) -> None:
    """Refuse tables without any column that is known, and timings that do not say of what."""
    columns = [str(c) for c in frame.columns]
    if is_operator_table(columns) or is_run_table(columns):
        return
    if "time" in columns:
        raise SchemaError(place, ["missing column 'kernel', which says what was timed"])
    if not {*columns} & {*_FIELDS, "kernel", "ttft", "tpot", "latency"}:
        fault = f"no known column, separated by commas, but {', '.join(map(repr, columns[:12]))}"
        raise SchemaError(place, [fault])


def _stated(frame: pd.DataFrame, fields: dict[str, Any]) -> pd.DataFrame:
    """Return a table with what it does not say."""
    done = frame.copy()
    for name, value in fields.items():
        given = pd.Series([value] * len(done), done.index, dtype=object)
        lacks = done[name].isna() if name in done else given.notna()
        if name == "model" and name in done and not is_operator_table(list(frame.columns)):
            names = done[name].map(database_model)
            lacks |= ~names.isin(registry.list_models())
        if lacks.all():
            done[name] = given.infer_objects()
        elif lacks.any():
            done[name] = done[name].where(~lacks, given).infer_objects()
    return done


def _is_measured(path: Path) -> bool:
    """Whether a file of a folder is a table or a result that is known; others may be anything."""
    try:
        if path.suffix == ".json":
            return is_result(_json(path))
        columns = list(_csv(path, rows=1).columns) if ".csv" in path.suffixes else []
    except InputError:
        return False
    return is_run_table(columns) or is_operator_table(columns)


def _opened(source: Any) -> tuple[str, pd.DataFrame]:
    if isinstance(source, pd.DataFrame):
        return "measurements", source
    if isinstance(source, dict):
        return "measurements", json_runs(source, "measurements")
    if not isinstance(source, (str, Path)):
        msg = f"measurements must be a frame, a file or a benchmark's JSON, got {source!r:.60}"
        raise InputError(msg)
    path = Path(source)
    if path.suffix != ".json":
        return path.name, _lined(path)
    return path.name, json_runs(_json(path), path.name)


def _json(path: Path) -> Any:
    try:
        return json_values(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise InputError(msg) from None
    except ValueError as error:  # no JSON, or no text
        msg = f"{path} is not JSON: {error}"
        raise InputError(msg) from None


def _lined(path: Path) -> pd.DataFrame:
    """Return a file whose index is the line of each row, where lines are rows."""
    frame = _csv(path)
    if path.suffix == ".csv":
        with path.open(encoding="utf-8") as file:
            kept = [n for n, line in enumerate(file, 1) if line.partition("#")[0].strip()]
        if len(kept) == len(frame) + 1:
            frame.index = pd.Index(kept[1:], name="line")
    return frame


def _csv(path: Path, rows: int | None = None) -> pd.DataFrame:
    try:
        return pd.read_csv(path, nrows=rows, comment="#")
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise InputError(msg) from None
    except (GenzError, ValueError, EOFError) as error:
        msg = f"{path} is not a table: {error}"
        raise InputError(msg) from None
