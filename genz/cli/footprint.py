"""``genz footprint``: what quantised weights take, which layouts cut no group, and what fits."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import click

from genz.cli.inputs import engine_of, layout_of, model_of, platform_of
from genz.cli.options import (
    TOKENS,
    WHOLE,
    CommandWithFiles,
    layout_options,
    model_argument,
    output_options,
)
from genz.cli.output import Output, say, show, table
from genz.cli.units import COUNT, SIZE, Number
from genz.cli.words import scaled
from genz.core.unit import GB
from genz.core.words import plural

if TYPE_CHECKING:
    from genz.serve.memory import Memory
    from genz.solve.quantization.choice import QuantizationChoice
    from genz.solve.quantization.footprint import Footprint

__all__ = ["footprint"]

_MB = 1e6
_LOAD = {"batch": 1, "context": 1024}
_SCHEME = ("group", "axis", "scale", "zero")
_EXAMPLES = """\b
Examples:
  genz footprint llama2_7b --bits 3 --group 128 --axis ic --tp 4
  genz footprint mixtral_8x7b --bits 4 --axis oc --tp 2 --platform h100_sxm_8 --batch 16
  genz footprint llama3_70b --fit --platform h100_sxm_1 --batch 8 --context 4k
"""


@click.command(
    cls=CommandWithFiles,
    short_help="Bytes of quantised weights, legal layouts, what fits.",
    epilog=_EXAMPLES,
)
@model_argument
@click.option("--bits", type=click.Choice(["2", "3", "4", "8"]), help="Integer weights.")
@click.option(
    "--group", type=Number(COUNT, 0.0), metavar="N",
    help="Weights that share a scale; 0 a whole channel; default 128.",
)  # fmt: skip
@click.option(
    "--axis", type=click.Choice(["oc", "ic", "tensor"]),
    help="Scales of output channels (default), of input channels, of the tensor.",
)  # fmt: skip
@click.option(
    "--scale", type=click.Choice(["fp32", "fp16", "bf16", "fp8"]), help="Scales; default fp16."
)
@click.option(
    "--zero", type=click.Choice(["int", "none", "fp32", "fp16", "bf16", "fp8"]),
    help="Zero points; default int, as many bits as a weight.",
)  # fmt: skip
@click.option(
    "--precision",
    metavar="NAME",
    help="Formats: bf16, w8a8, ...; default native, or bf16 beside --bits.",
)
@layout_options
@click.option(
    "--platform",
    metavar="NAME",
    help="Whether it fits, and time of the scales: a name, or a TOML file.",
)
@click.option("--engine", metavar="NAME", help="Serving software; default the newest calibrated.")
@click.option("--batch", type=WHOLE, help="Requests in a decode step; default 1.")
@click.option("--context", type=TOKENS, help="Tokens of each, on PLATFORM; default 1024.")
@click.option("--fit", is_flag=True, help="Try schemes on PLATFORM: most bits that fit, fastest.")
@click.option("--limit", type=Number(SIZE, above=True), help="With --fit, bytes for weights: 40GB.")
@click.option("--pad", is_flag=True, help="With --fit, channels of zeros may complete groups.")
@output_options(html=False)
def footprint(model: str, **given: Any) -> int:
    """Count the bytes of a model's weights by tensor and device, and say which tensors forbid the layout.

    MODEL is a name of the database (genz list models), a config.json or its folder, or a TOML file.
    Exit status 1 if PLATFORM does not hold weights and cache, or with --fit if no scheme fits.
    """
    out = Output(given["csv_file"], given["json_file"])
    if given["fit"]:
        return _fit(model, given, out)
    for name in ("limit", "pad"):
        if given[name]:
            msg = f"--{name} needs --fit"
            raise click.UsageError(msg)
    found = _found(model, given)
    if given["batch"] is not None and given["platform"] is None and not float(found.scale_traffic):
        msg = f"--batch needs --platform, or --bits: {found.label} has no scales that a step reads"
        raise click.UsageError(msg)
    held = _held(found, given)
    room = inf if held is None else float(held.pool - held.cache) - float(found.padding_total)
    fits = room >= 0.0 and (held is None or bool(held.fits))
    out.save(frame=found.to_frame, data=lambda: {**_data(found), "room": room})
    if not out.quiet:
        _print(found)
        if held is not None:
            say(_fitting(held, room, given))
    return 0 if fits else 1


def _options(given: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords that were typed and both answers take."""
    options: dict[str, Any] = {n: given[n] or value for n, value in _LOAD.items()}
    options["parallel"] = layout_of(given)
    if given["precision"] is not None:
        options["precision"] = given["precision"]
    if given["engine"] is not None:
        options["engine"] = engine_of(given["engine"])
    return options


def _found(model: str, given: dict[str, Any]) -> Footprint:
    from genz.solve.quantization.footprint import footprint as count
    from genz.spec.quantization import GroupQuantization

    options = _options(given)
    typed = {n: given[n] for n in _SCHEME if given[n] is not None}
    if given["platform"] is not None:
        options["platform"] = platform_of(given["platform"])
    for name in ("engine", "context"):
        if given[name] is not None and given["platform"] is None:
            msg = f"--{name} needs --platform"
            raise click.UsageError(msg)
    if given["bits"] is None and typed:
        msg = f"--{next(iter(typed))} needs --bits"
        raise click.UsageError(msg)
    if given["bits"] is None:
        return count(model_of(model), options.pop("precision", "native"), **options)
    if typed.get("axis") == "tensor":
        typed = {"group": 0} | typed
    scheme = GroupQuantization(bits=int(given["bits"]), **typed)
    return count(model_of(model), scheme, **options)


def _held(found: Footprint, given: dict[str, Any]) -> Memory | None:
    """Return what the platform holds, padding apart; None without a platform."""
    from genz.api import memory

    if given["platform"] is None:
        return None
    options = {**_options(given), "parallel": found.parallel, "precision": found.precision}
    return memory(found.model, platform_of(given["platform"]), **options)


def _fitting(held: Memory, room: float, given: dict[str, Any]) -> str:
    """Return whether weights and cache fit, and with how much to spare."""
    batch, context = (given[name] or least for name, least in _LOAD.items())
    load = f"the cache of {plural(batch, 'request')} of {plural(context, 'token')}"
    if room < 0.0:
        return f"Weights and {load} do not fit into {given['platform']}: {-room / GB:.3g} GB too much on a device."
    most = plural(float(held.max_batch), "request")
    if not held.fits:
        return f"Weights and {load} fit into {given['platform']}, but the software runs {most} at most."
    return f"Weights and {load} fit into {given['platform']} with {room / GB:.3g} GB to spare on a device; at most {most}."


def _data(found: Footprint) -> dict[str, Any]:
    names = (
        "label", "total", "bits_per_weight", "linear_total", "linear_parameter", "device_total",
        "padding_total", "is_legal", "scale_traffic", "scale_time", "scale_time_ideal",
    )  # fmt: skip
    rows = found.to_frame().drop(columns="case").to_dict(orient="records")
    return {"model": found.model.name, **{n: getattr(found, n) for n in names}, "tensors": rows}


def _print(found: Footprint) -> None:
    frame = found.to_frame()
    small = (frame.inner == 1).to_numpy()
    frame["name"] = frame["name"].where(~small, "norms, biases")
    frame["shape"] = [f"{i:,.0f} x {o:,.0f}" for i, o in zip(frame.inner_local, frame.outer_local, strict=True)]  # fmt: skip
    frame["shape"] = frame["shape"].where(~small, "")
    rows = [
        [
            name, part.format.iloc[0], " / ".join(part["shape"].unique()), scaled(part.whole.sum(), GB),
            scaled(part.device.sum(), _MB), scaled(part.padding.sum(), _MB),
            "yes" if part.legal.all() else "no",
        ]
        for name, part in frame.groupby("name", sort=False)
    ]  # fmt: skip
    columns = (
        "tensor", "format", ">in x out,\non a rank", ">GB,\nall layers", ">MB on\na device", ">MB of\npadding", "legal",
    )  # fmt: skip
    show(table(columns, rows))
    say(found.explain())


def _fit(model: str, given: dict[str, Any], out: Output) -> int:
    from genz.solve.quantization.choice import choose_quantization

    for name in ("bits", *_SCHEME):
        if given[name] is not None:
            msg = f"--{name} and --fit exclude each other"
            raise click.UsageError(msg)
    if given["platform"] is None:
        msg = "--fit needs --platform"
        raise click.UsageError(msg)
    limit = {} if given["limit"] is None else {"limit": given["limit"]}
    found = choose_quantization(
        model_of(model),
        platform_of(given["platform"]),
        pad=given["pad"],
        **limit,
        **_options(given),
    )
    out.save(frame=found.to_frame, data=lambda: _choice(found))
    if not out.quiet:
        _print_choice(found)
    return 0 if found.feasible else 1


def _choice(found: QuantizationChoice) -> dict[str, Any]:
    best = {n: q and q.scheme for n, q in (("widest", found.widest), ("fastest", found.fastest))}
    return {**best, "schemes": found.to_frame().to_dict(orient="records")}


def _print_choice(found: QuantizationChoice) -> None:
    from genz.solve.words import duration

    rows = [
        [
            q.scheme, f"{q.bits_per_weight:.2f}", scaled(q.weights, GB), scaled(q.padding, _MB), scaled(q.room, GB),
            f"{q.max_batch:,}", duration(q.time) if q.time < float("inf") else "", q.reason or "fits",
        ]
        for q in found.schemes
    ]  # fmt: skip
    columns = (
        "scheme", ">bits per\nweight", ">GB on\na device", ">MB of\npadding", ">GB\nleft", ">largest\nbatch",
        ">decode\nstep", "answer",
    )  # fmt: skip
    show(table(columns, rows))
    say(found.explain())
