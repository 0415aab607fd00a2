"""``genz calibrate``: constants of a device or of serving software from own measurements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import engine_of, model_of, names, platform_of
from genz.cli.options import WHOLE, CommandWithFiles, output_options
from genz.cli.output import Output, say, show, table
from genz.cli.words import figure
from genz.core.errors import UnknownNameError
from genz.core.words import plural

if TYPE_CHECKING:
    import pandas as pd

    from genz.solve.calibrate import Calibration

__all__ = ["calibrate"]
_EXAMPLES = """\b
Examples:
  genz calibrate gemm.csv --platform h100_sxm_1 --out my_h100.toml
  genz calibrate serving_sample.csv.gz --engine sglang --split --out my_sglang.toml
  genz calibrate serve.json --platform l40s_4 --engine vllm_0_19 --model llama3_8b --out l40s.toml
"""
_FIELDS = ("tensor", "batch", "prompt", "output", "precision")


@click.command(
    cls=CommandWithFiles, short_help="Fit a device or an engine on measurements.", epilog=_EXAMPLES
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option(
    "--platform",
    metavar="NAME",
    help="Where it was measured, or a TOML file; without it, an engine is fitted on runs that name their device.",
)
@click.option(
    "--split",
    is_flag=True,
    help="Without --platform: leave out the deployments that genz validate judges on.",
)
@click.option(
    "--engine",
    metavar="NAME",
    help="Software of whole runs; default the one they name, else the newest calibrated one.",
)
@click.option(
    "--target",
    type=click.Choice(["device", "engine"]),
    help="What whole runs fit; default the device if it has no constants yet, else the engine.",
)
@click.option(
    "--kernel", multiple=True, metavar="CLASS", help="Kernel classes to fit; default all."
)
@click.option("--no-prior", is_flag=True, help="Let the rows alone decide.")
@click.option(
    "--model",
    metavar="NAME",
    help="Model, or its config.json or TOML file, where the file names none that the database knows.",
)
@click.option(
    "--tensor", type=WHOLE, metavar="N", help="Shards of every matrix, where the files do not say."
)
@click.option(
    "--batch", type=WHOLE, metavar="N", help="Requests or clients, where the files do not say."
)
@click.option(
    "--prompt", type=WHOLE, metavar="TOKENS", help="Tokens in, where the files do not say."
)
@click.option(
    "--output", type=WHOLE, metavar="TOKENS", help="Tokens generated, where the files do not say."
)
@click.option("--precision", metavar="NAME", help="Formats, where the files do not say.")
@click.option("--out", metavar="FILE", help="Write the record with its new constants as TOML.")
@output_options(html=False)
def calibrate(*, files: tuple[str, ...], platform: str | None, **given: Any) -> int:
    """Fit constants on CSV tables, or on the JSON of vllm bench, aiperf or genai-perf, or on folders of them.

    For each class it prints the mean error of the fit, mean error and bias of folds that were held out, and the
    scatter (sigma) that intervals will state; then the constants.
    """
    from genz.solve.calibrate import calibrate as fitted

    output = Output(given["csv_file"], given["json_file"])
    stated: dict[str, Any] = {n: given[n] for n in _FIELDS if given[n] is not None}
    if given["model"] is not None:
        stated["model"] = model_of(given["model"])
    try:
        done = fitted(
            list(files),
            None if platform is None else platform_of(platform),
            kernel=names(given["kernel"]) or None,
            engine=None if given["engine"] is None else engine_of(given["engine"]),
            target=given["target"],
            prior=not given["no_prior"],
            split=given["split"],
            **stated,
        )
    except UnknownNameError as error:
        if error.kind != "model" or error.more:
            raise
        more = "where a file names another, --model says which it is"
        raise UnknownNameError(error.kind, error.name, error.known, more=more) from None
    if given["out"] is not None:
        done.write(given["out"])
    frame = done.to_frame()
    output.save(frame=lambda: frame, data=lambda: frame.to_dict("records"))
    if not output.quiet:
        _print(done, given["out"])
    return 0


_TABLE = {
    "n_row": 1.0, "n_flagged": 1.0, "mape": 1e-2, "held_out_mape": 1e-2, "held_out_bias": 1e-2,
    "error": 1e-2,
}  # fmt: skip
_HEADINGS = (">rows", ">left\nout", ">error\n%", ">held out\n%", ">bias\n%", ">sigma\n%")


#: Ratio of measured to predicted time from which on a row is pointed at.
_FACTOR = 3.0


def _odd(rows: pd.DataFrame) -> list[str]:
    """Return what is odd about rows that are far off, the worst first."""
    if rows.empty:
        return []
    from genz.solve.measured.operators import SHAPES

    worst = rows.iloc[0].dropna()
    told = SHAPES.get(worst.get("kernel", ""), ("quantity", "model", "batch", "prompt", "output"))
    shape = ", ".join(f"{name} {worst[name]}" for name in told if name in worst)
    ratio = figure(worst["ratio"])
    what = f"{worst['kernel']} of" if "kernel" in worst else "a run with"
    far = f"{plural(len(rows), 'row')} off by more than a factor of {_FACTOR:g}"
    return [
        f"{far}, most of all {what} {shape}: the measured time is {ratio} times the predicted one."
    ]


def _print(done: Calibration, path: str | None) -> None:
    from genz.solve.calibrate.flags import FASTER
    from genz.solve.calibrate.result import unit_of

    frame = done.to_frame()
    rows = [
        [row["class"], row["format"], *(figure(row[c] / size) for c, size in _TABLE.items())]
        for row in frame.to_dict("records")
    ]
    show(table(("class", "format", *_HEADINGS), rows))
    known = list(frame.columns)
    constants = [c for c in known[known.index("error") + 1 :] if c != "form"]
    values = [
        [row["class"], row["format"], *(figure(row[c]) for c in constants)]
        for row in frame.to_dict("records")
    ]
    factors = set(zip(frame["class"], frame["target"], strict=True)) == {("runs", "device")}
    units = ("factor" if factors else unit_of(c) for c in constants)
    headings = (f">{c}\n{unit}".rstrip() for c, unit in zip(constants, units, strict=True))
    show(table(("class", "format", *headings), values))
    for row in frame.to_dict("records") if "form" in known else ():
        if isinstance(row["form"], str):
            say(f"{row['class']} {row['format']}: {row['form']}.")
    for reason, count in done.flagged["flag"].value_counts().items():
        runs = reason == FASTER and "runs" in set(frame["class"])
        hint = " Were layout (--tensor) and formats (--precision) those?" if runs else ""
        say(f"{plural(count, 'row')} left out: {reason}.{hint}")
    for line in _odd(done.outliers(_FACTOR)):
        say(line)
    if path is not None:
        say(f"Wrote {path}.")
