"""``genz calibrate``: what it prints; fits themselves are tested beside them."""

import pytest
from click.testing import CliRunner

from genz.cli import main

GEMM = "kernel,format,m,n,k,time\n" + "".join(
    f"gemm,bf16,4096,4096,{k},{2 * 4096**2 * k / 600e12}\n" for k in (1024, 2048, 4096, 8192)
)
RUN = "model,batch,prompt,output,ttft,tpot\nllama3_8b,8,1000,100,0.2,0.01\n"


def printed(tmp_path, text, *more):
    path = tmp_path / "own.csv"
    path.write_text(text)
    result = CliRunner().invoke(main, ["calibrate", str(path), *more])
    assert result.exit_code == 0, result.output
    return result.stdout


def heading(text, constant):
    """Return what stands in the last line of the heading of a constant."""
    lines = text.splitlines()
    at = next(i for i, line in enumerate(lines) if f"{constant} " in line)
    end = lines[at].index(constant) + len(constant)
    return [line[end - len(constant) : end].strip() for line in lines[at : at + 2]]


def test_constants_have_their_units(tmp_path):
    text = printed(tmp_path, GEMM, "--platform", "h100_sxm_1")
    assert heading(text, "overhead") == ["overhead", "s"]
    assert "off by more" not in text
    assert "left out" not in text.replace("left", "", 1)


def test_whole_runs_of_a_device_give_factors(tmp_path):
    text = printed(tmp_path, RUN, "--platform", "mi250_8")
    assert heading(text, "overhead") == ["overhead", "factor"]


@pytest.mark.parametrize(
    ("time", "said"),
    [("0.3", r"the measured time is [\d,]+ times the predicted one"), ("1.4e-4", "")],
)
def test_a_row_in_another_unit_is_pointed_at(tmp_path, time, said):
    text = " ".join(
        printed(
            tmp_path, f"{GEMM}gemm,bf16,2048,4096,4096,{time}\n", "--platform", "h100_sxm_1"
        ).split()
    )
    start = "1 row off by more than a factor of 3, most of all gemm of m 2048, n 4096, k 4096: the measured "
    assert (start in text) == bool(said)


def test_rows_that_are_left_out_are_counted(tmp_path):
    text = printed(tmp_path, f"{GEMM}gemm,bf16,8192,8192,8192,1e-9\n", "--platform", "h100_sxm_1")
    assert "1 row left out: faster than the ideal bound." in text
