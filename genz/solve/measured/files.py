"""Files of measurements: what they are, which device and software they are about."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from genz.core.errors import GenzError, InputError
from genz.solve.measured.operators import is_operator_table, operator_rows
from genz.solve.measured.runs import is_run_table, json_runs, run_rows

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
    """Return one file, or None where its layout is none of those known.

    Parameters
    ----------
    path : Path
        CSV, packed or not.

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


def _about(stem: str) -> tuple[str, str]:
    """Device and software of a file named ``<op>_<device>_<engine><version>``."""
    known = sorted(DEVICES, key=len, reverse=True)
    found = re.search(rf"_({'|'.join(map(re.escape, known))})(?:_([a-z]+[\d.]+\w*))?$", stem)
    return (found.group(1), found.group(2) or "") if found else ("", "")


def read_folder(folder: str | Path) -> Iterator[Table]:
    """Yield the files of a folder whose layout is known, each read once.

    Parameters
    ----------
    folder : str or Path
        Folder with CSV files.

    Yields
    ------
    Table

    Raises
    ------
    InputError
        If it is no folder, or holds no file that is known.
    """
    place = Path(folder)
    if not place.is_dir():
        msg = f"data must be a folder with tables, got {str(folder)!r}, which is none"
        raise InputError(msg)
    found = False
    for path in sorted(place.glob("*.csv*")):
        table = read_table(path)
        if table is not None:
            found = True
            yield table
    if not found:
        msg = f"no file in {place} has a known layout"
        raise InputError(msg)


def read_measurements(source: Any, **fields: Any) -> pd.DataFrame:
    """Return measurements in the own columns, of operators or of whole runs.

    Parameters
    ----------
    source : DataFrame, str, Path, mapping or sequence of these
        Rows, a file (CSV, packed or not, or JSON of a benchmark), or what such a JSON file holds.
    **fields
        Columns that the source does not have, such as ``model``, ``tensor``, ``batch``.

    Returns
    -------
    DataFrame
        Rows of operators where it has a column ``kernel``, else of runs.

    Raises
    ------
    InputError
        If a file cannot be read, its layout is unknown, or a column is missing.
    SchemaError
        If rows break the rules of their columns.
    """
    if isinstance(source, (list, tuple)):
        parts = [read_measurements(s, **fields) for s in source]
        if not parts:
            msg = "measurements must hold at least one row, got none"
            raise InputError(msg)
        return pd.concat(parts, ignore_index=True)
    place, frame = _opened(source)
    missing = {k: v for k, v in fields.items() if v is not None and k not in frame}
    frame = frame.assign(**missing)
    columns = list(frame.columns)
    if not is_operator_table(columns) and ("kernel" not in columns or is_run_table(columns)):
        return run_rows(frame, place)
    rows = operator_rows(frame, place)
    if rows.empty:
        msg = "measurements must hold at least one row, got none"
        raise InputError(msg)
    return rows


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
        return path.name, _csv(path)
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise InputError(msg) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        msg = f"{path} is not JSON: {error}"
        raise InputError(msg) from None
    return path.name, json_runs(data, path.name)


def _csv(path: Path, rows: int | None = None) -> pd.DataFrame:
    try:
        return pd.read_csv(path, nrows=rows, comment="#")
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise InputError(msg) from None
    except (GenzError, ValueError, EOFError) as error:
        msg = f"{path} is not a table: {error}"
        raise InputError(msg) from None
