"""Errors of constants that stand in for others, renewed: ``python -m genz.solve.calibrate.stand_ins --data DIR``.

Where weights or cache are narrower than their format, or heads wide, and a device has no constants of such kernels, those of
plain ones stand in. What they are off by is measured on devices that have both: theirs are taken away.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from genz.core.typing import FloatArray
from genz.db import registry
from genz.ops.attention import WIDE
from genz.perf import stand_ins
from genz.perf.efficiency import PRIOR, RELATIVE, narrow_format
from genz.solve.accuracy import conformal_error
from genz.solve.calibrate.tables import Rows, groups
from genz.solve.measured.kinds import kinds, parts
from genz.solve.measured.predict import predicted_time
from genz.spec.hardware import Platform

__all__ = ["main", "stand_in_errors", "without", "written"]

#: Rows of a variant below which it tells nothing.
_LEAST_ROWS = 20


def stand_in_errors(measured: Mapping[str, Rows]) -> dict[str, float]:
    """Return the error of stand-ins by kernel class, as :data:`genz.perf.stand_ins.WIDENED` holds it [1].

    Parameters
    ----------
    measured : mapping
        Tables by platform, as of :func:`genz.solve.calibrate.tables.groups`.

    Returns
    -------
    dict
        Kernel class -> error that holds 90 % of the rows of all devices, held-out rows left out; each row counts the same.
    """
    found: dict[str, list[FloatArray]] = defaultdict(list)
    for name, rows in measured.items():
        for kernel, residual in _residuals(registry.platform(name), rows):
            found[kernel].append(residual)
    return {
        k: float(f"{conformal_error(np.concatenate(found[k])):.2g}")
        for k in (*PRIOR, *RELATIVE, *(kernel + WIDE for kernel in PRIOR))
        if k in found
    }


def _residuals(platform: Platform, rows: Rows) -> Iterator[tuple[str, FloatArray]]:
    """Yield the log of measured over predicted time of variants and of wide heads under what stands in for their constants."""
    for (kernel, variant, software), own in rows.items():
        cases = [(kernel + WIDE, without(platform, kernel, WIDE))]
        if narrow_format(variant):
            cases.append((kernel, without(platform, kernel, variant)))
        for kind, plain in cases:
            seen = (kinds(own, platform) == kind) & (np.asarray(parts(own)) != "held_out")
            if np.count_nonzero(seen) >= _LEAST_ROWS and plain.accelerator.kernel.get(kernel):
                part = own[seen]
                yield kind, np.log(part["time"].to_numpy() / predicted_time(part, plain, software))


def without(platform: Platform, kernel: str, variant: str) -> Platform:
    """Return a platform whose device has no constants of a variant, or none of wide heads.

    Parameters
    ----------
    platform : Platform
        Where kernels ran.
    kernel, variant : str
        Class, and formats of products and of what they read, or :data:`genz.ops.attention.WIDE`.
    """
    chip = platform.accelerator
    own = {
        n: k
        for n, k in chip.kernel.get(kernel, {}).items()
        if not (n.startswith(variant) or n.partition("-")[0].endswith(variant))
    }
    return platform.replace(accelerator=chip.replace(kernel={**chip.kernel, kernel: own}))


def written(text: str, errors: Mapping[str, float]) -> str:
    """Return the text of :mod:`genz.perf.stand_ins` with other errors."""
    lines = "".join(f'    "{kernel}": {error:g},\n' for kernel, error in errors.items())
    return re.sub(r"(?m)^WIDENED = \{[^}]*\}$", f"WIDENED = {{\n{lines}}}", text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the errors of stand-ins on the tables of a folder, print them and write them where the models read them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", required=True, help="folder of tables")
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args(arguments)
    errors = stand_in_errors(groups(given.data))
    for kernel, error in errors.items():
        sys.stdout.write(
            f"{kernel:18} error {error:g}, was {stand_ins.WIDENED.get(kernel, 0.0):g}\n"
        )
    if not given.dry:
        path = Path(stand_ins.__file__)
        path.write_text(written(path.read_text(encoding="utf-8"), errors), encoding="utf-8")


if __name__ == "__main__":
    main()
