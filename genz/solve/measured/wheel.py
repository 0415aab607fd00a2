"""Tables of the package ``aiconfigurator-core`` (Apache-2.0), where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from genz.solve.measured.files import DEVICES, Table
from genz.solve.measured.operators import operator_rows

__all__ = ["read_wheel"]

_PACKAGE = "aiconfigurator-core"
#: File -> (columns of the table, as the layouts of measurement folders name them).
_RENAMED: dict[str, dict[str, str]] = {
    "gemm_perf": {"gemm_dtype": "dtype"},
    "context_attention_perf": {
        "isl": "seq_len", "step": "past_kv_len", "num_key_value_heads": "kv_heads",
    },
    "generation_attention_perf": {"num_key_value_heads": "kv_heads"},
    "moe_perf": {"moe_dtype": "dtype", "kernel_source": "kernel"},
    "nccl_perf": {"nccl_dtype": "dtype", "message_size": "message_elems"},
    "custom_allreduce_perf": {
        "allreduce_dtype": "dtype", "message_size": "message_elems", "framework": "engine",
        "version": "engine_version", "kernel_source": "kernel",
    },
}  # fmt: skip
_MICRO = 1e3  # microseconds of a millisecond


def read_wheel(skipped: list[str]) -> Iterator[Table] | None:
    """Return the tables of the installed package, or None where there is none that is understood.

    Parameters
    ----------
    skipped : list of str
        Takes a message where the package is there but cannot be read.
    """
    try:
        listed = files(_PACKAGE) or []
    except PackageNotFoundError:
        return None
    found = [Path(str(f.locate())) for f in listed if f.stem in _RENAMED and f.suffix == ".parquet"]
    if not found:
        skipped.append(f"{_PACKAGE}: layout not understood, no tables read")
        return None
    if find_spec("pyarrow") is None:
        skipped.append(
            f"{_PACKAGE}: pyarrow is missing, no tables read; pip install genz[validate]"
        )
        return None
    return _tables(found, skipped)


def _tables(paths: list[Path], skipped: list[str]) -> Iterator[Table]:
    for path in sorted(paths):
        device, _, engine, version = path.parts[-5:-1]
        if device not in DEVICES:
            continue
        name = "/".join(path.parts[-5:])
        try:
            rows = _rows(path)
        except (KeyError, ValueError, OSError) as error:
            skipped.append(f"{_PACKAGE}: {name}: layout not understood: {error}")
            continue
        if not rows.empty:
            yield Table(name, device, engine + version, rows)


def _rows(path: Path) -> pd.DataFrame:
    frame = pd.read_parquet(path)
    if path.stem != "custom_allreduce_perf":
        frame = frame.drop(columns=["kernel"], errors="ignore")
    frame = frame.rename(columns=_RENAMED[path.stem])
    frame["latency_us"] = _MICRO * frame["latency"]
    if path.stem == "generation_attention_perf":
        frame["kv_len"] = frame["isl"] + frame["step"]
    if path.stem == "custom_allreduce_perf":
        frame = frame.drop(columns=["op_name"])
        frame["engine"] = frame["engine"].str.lower()
    if "num_heads" in frame:
        frame = frame[frame["beam_width"] == 1] if "beam_width" in frame else frame
    drop = [c for c in ("latency", "isl", "step") if c in frame]
    return operator_rows(frame.drop(columns=drop), path.name)
