"""Tables of a folder as constants are fitted on them: by platform, class, variant and software."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from genz.core.errors import GenzError
from genz.db import registry
from genz.solve.measured.exchanges import SKEWED
from genz.solve.measured.files import platform_name, read_folder
from genz.solve.measured.kinds import EAGER
from genz.solve.measured.work import variant_of

__all__ = ["Rows", "groups"]

#: Formats whose bytes stand for those of all in fits of collectives.
_BYTES = ("fp16", "bf16", "int8")
#: Rows of one platform by class, variant and software.
Rows = dict[tuple[str, str, str], pd.DataFrame]


def groups(data: str | Path, devices: Sequence[str] = ()) -> dict[str, Rows]:
    """Return the rows to fit and judge on, by platform and then by class, variant and software.

    Parameters
    ----------
    data : str or Path
        Folder of tables.
    devices : sequence of str
        Accelerators of the database; none: all.
    """
    found: dict[str, Rows] = defaultdict(dict)
    for table in read_folder(data):
        rows = table.rows
        if "kernel" not in rows:
            continue
        device = rows["device"] if "device" in rows else pd.Series(table.device, rows.index)
        for name, own in rows.groupby(device, sort=False):
            platform = platform_name(str(name))
            if _wanted(platform, devices):
                engine = table.engine or str(own.get("engine", pd.Series([""])).iloc[0])
                for key, one in _grouped(own, engine):
                    known = found[platform].get(key)
                    found[platform][key] = one if known is None else pd.concat([known, one])
    return found


def _wanted(platform: str, devices: Sequence[str]) -> bool:
    try:
        name = registry.platform(platform).accelerator.name
    except GenzError:
        return False
    return not devices or name in devices


def _grouped(rows: pd.DataFrame, engine: str) -> list[tuple[tuple[str, str, str], pd.DataFrame]]:
    if "core" in rows:  # kernels that exchange tokens
        each = rows.groupby(["kernel", "library"], sort=False)
        return [((str(k), "any", str(software)), own) for (k, software), own in each]
    if "library" in rows:  # collectives: bytes count, and what graphs replay
        fair = rows["format"].isin(_BYTES) & ~rows["library"].str.endswith((EAGER, SKEWED))
        each = rows[fair].groupby(["kernel", "library"], sort=False)
        return [((str(k), "any", str(software)), own) for (k, software), own in each]
    cache = rows["cache_format"].fillna("") if "cache_format" in rows else pd.Series("", rows.index)
    return [
        ((str(k), variant_of(str(f), str(c)), engine), own)
        for (k, f, c), own in rows.groupby(["kernel", "format", cache], sort=False)
    ]
