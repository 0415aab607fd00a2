"""``genz footprint``: its answers, its files, and every way to fail."""

import json
from io import StringIO

import pandas as pd
import pytest
from click.testing import CliRunner

import genz as library
from genz.cli import main

ISSUE = ["footprint", "llama2_7b", "--bits", "3", "--group", "128", "--axis", "ic", "--tp", "4"]
FIT = [
    "footprint",
    "llama3_70b",
    "--fit",
    "--platform",
    "h100_sxm_1",
    "--batch",
    "8",
    "--context",
    "4k",
]


def genz(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


def read_csv(text):
    first, rest = text.split("\n", 1)
    assert first.startswith("# units: ")
    return pd.read_csv(StringIO(rest)), dict(u.split("=") for u in first[9:].split(", "))


def test_help_names_an_example():
    result = genz("footprint", "--help")
    assert result.exit_code == 0
    assert "genz footprint llama2_7b --bits 3" in result.stdout
    assert "footprint" in genz("--help").stdout


def test_tensors_and_what_is_illegal():
    result = genz(*ISSUE)
    assert result.exit_code == 0
    assert "3.07 GB, 3.65 bits per weight (linear layers 3.15)" in result.stdout
    assert "gate, up (2,752 output channels on a rank, no multiple of 128)" in result.stdout
    assert "norms, biases" in result.stdout
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 100


def test_json_is_the_answer_of_the_library():
    data = json.loads(genz(*ISSUE, "--json").stdout)
    scheme = library.GroupQuantization(bits=3, group=128, axis="ic")
    found = library.footprint("llama2_7b", scheme, parallel=library.Parallel(tensor=4))
    for name in ("total", "bits_per_weight", "device_total", "padding_total", "scale_traffic"):
        assert data[name] == getattr(found, name)
    assert data["is_legal"] is False
    assert data["scale_time"] is None
    assert sum(row["n_parameter"] for row in data["tensors"]) == found.model.n_parameter


def test_csv_and_long_names_of_the_degrees():
    frame, units = read_csv(genz(*ISSUE[:-2], "--tensor", "4", "--csv").stdout)
    assert units["device"] == "B"
    assert set(frame.name[~frame.legal]) == {"gate", "up"}
    other, _ = read_csv(genz(*ISSUE, "--csv").stdout)
    pd.testing.assert_frame_equal(frame, other)


def test_platform_times_the_scales_and_bounds_the_weights():
    assert "µs of its time" in genz(*ISSUE, "--platform", "a100_sxm_8").stdout
    result = genz("footprint", "llama3_70b", "--platform", "h100_sxm_1")
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "Weights and the cache of 1 request of 1,024 tokens do not fit into h100_sxm_1: " in text


def test_what_fits_is_said_with_what_is_to_spare():
    """Llama-3-8B on the physical bound: 16.06 GB of weights, 131,072 B of cache a token, 85.02 GB of an H100."""
    case = ["footprint", "llama3_8b", "--platform", "h100_sxm_1", "--engine", "ideal", "--batch", 4]
    result = genz(*case, "--context", 1000)
    assert result.exit_code == 0
    held = library.memory("llama3_8b", "h100_sxm_1", batch=4, context=1000, engine="ideal")
    usable = library.accelerator("nvidia_h100_sxm").usable_memory
    room = usable - 16.06e9 - 4 * 1000 * 131072 - float(held.activations)
    text = " ".join(result.stdout.split())
    load = "Weights and the cache of 4 requests of 1,000 tokens fit into h100_sxm_1"
    assert f"{load} with {room / 1e9:.3g} GB to spare on a device; at most " in text
    data = json.loads(genz(*case, "--context", 1000, "--json").stdout)
    assert data["room"] == pytest.approx(room, rel=1e-3)
    assert json.loads(genz(*ISSUE, "--json").stdout)["room"] is None


def test_more_requests_than_the_software_runs_is_no_matter_of_memory():
    """vLLM runs 1,024 on 80 GB; Llama-3.2-1B holds the cache of 1,100 requests of 100 tokens in 3.6 GB."""
    case = ["footprint", "llama3_2_1b", "--platform", "h100_sxm_1", "--engine", "vllm_0_19"]
    result = genz(*case, "--batch", 1100, "--context", 100)
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "fit into h100_sxm_1, but the software runs 1,024 requests at most." in text


def test_schemes_formats_and_channels():
    def label(*options):
        return json.loads(genz("footprint", "llama2_7b", *options, "--json").stdout)["label"]

    assert label("--precision", "fp8") == "fp8"
    assert label("--precision", "fp8_block") == "fp8_block/fp8/bf16"
    assert label("--bits", 8, "--axis", "tensor") == "int8 tensor"
    assert label("--bits", 4, "--group", 0) == "int4 oc"
    wide, narrow = (
        json.loads(genz("footprint", "llama2_7b", "--bits", 4, "--zero", z, "--json").stdout)
        for z in ("fp16", "none")
    )
    bits = [8 * d["linear_total"] / d["linear_parameter"] for d in (wide, narrow)]
    assert bits == pytest.approx([4.25, 4.125])


def test_fit():
    result = genz(*FIT)
    assert result.exit_code == 0
    assert "most bits that fit: int4 g32 oc" in result.stdout
    assert max(len(line.rstrip()) for line in result.stdout.splitlines()) <= 100
    data = json.loads(genz(*FIT, "--json").stdout)
    found = library.choose_quantization("llama3_70b", "h100_sxm_1", batch=8, context=4000)
    assert (data["widest"], data["fastest"]) == (found.widest.scheme, found.fastest.scheme)
    frame, units = read_csv(genz(*FIT, "--csv").stdout)
    assert len(frame) == len(data["schemes"])
    assert units["weights"] == "B"


def test_fit_within_a_limit_with_padding_or_not_at_all():
    data = json.loads(genz(*FIT, "--limit", "32GB", "--json").stdout)
    assert data["widest"].startswith("int3")
    none = genz("footprint", "llama3_70b", "--fit", "--platform", "l4_1")
    assert none.exit_code == 1
    assert "no scheme fits" in none.stdout
    case = ["footprint", "llama2_7b", "--fit", "--platform", "a100_sxm_8", "--tp", "8", "--json"]
    fastest = [
        json.loads(genz(*case, *pad).stdout)["schemes"][7]["reason"] for pad in ([], ["--pad"])
    ]
    assert fastest == ["the layout cuts groups", ""]


BAD = [
    (["footprint"], "missing argument 'MODEL'"),
    (["footprint", "llama9"], "no model named 'llama9'"),
    ([*ISSUE, "--bits", "5"], "'5' is not one of"),
    ([*ISSUE, "--axis", "row"], "'row' is not one of"),
    ([*ISSUE, "--axis", "tensor"], "group must be 0 for axis 'tensor', got 128"),
    ([*ISSUE, "--group", "-1"], "--group must be a whole number >= 0"),
    ([*ISSUE, "--tp", "64"], "genz: --tensor must be <= 32 heads of llama2_7b"),
    ([*ISSUE, "--precision", "bf61"], "no precision named 'bf61'"),
    ([*ISSUE, "--platform", "h100"], "no platform named 'h100'"),
    ([*ISSUE, "--platform", "h100_sxm_1"], "parallel.size must be <= 1 accelerators"),
    ([*ISSUE, "--engine", "ideal"], "--engine needs --platform"),
    ([*ISSUE, "--context", "4k"], "--context needs --platform"),
    (
        ["footprint", "llama2_7b", "--batch", "4"],
        "--batch needs --platform, or --bits: bf16 has no scales",
    ),
    ([*ISSUE, "--limit", "3GB"], "--limit needs --fit"),
    ([*ISSUE, "--pad"], "--pad needs --fit"),
    (["footprint", "llama2_7b", "--group", "64"], "--group needs --bits"),
    (["footprint", "llama2_7b", "--fit"], "--fit needs --platform"),
    ([*FIT, "--bits", "3"], "--bits and --fit exclude each other"),
    ([*FIT, "--limit", "0GB"], "--limit must be > 0"),
    ([*FIT, "--batch", "0"], "--batch must be a whole number >= 1"),
]


@pytest.mark.parametrize(("command", "message"), BAD, ids=[" ".join(c)[-50:] for c, _ in BAD])
def test_bad_input_is_one_line_and_status_2(command, message):
    result = genz(*command)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
