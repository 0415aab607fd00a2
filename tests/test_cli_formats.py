"""Which formats a sizing says that it did not try."""

import pytest
from click.testing import CliRunner

from genz.cli import main

QUESTION = ["--rate", "1", "--prompt", "2000", "--output", "300", "--ttft", "2s", "--tpot", "80ms"]


@pytest.mark.parametrize(
    ("model", "words", "said"),
    [
        ("llama3_70b", ["--platform", "h100_sxm_8"], True),
        ("llama3_70b", ["--platform", "a100_sxm_8,h100_sxm_8"], True),
        ("llama3_70b", ["--platform", "h100_sxm_1"], True),  # does not fit in 16 bits
        ("llama3_70b", ["--platform", "h100_sxm_8", "--precision", "native,fp8_block,w8a8"], False),
        ("llama3_70b", ["--platform", "a100_sxm_8"], False),  # has no fp8
        ("llama3_70b", ["--platform", "h100_sxm_8", "--tpot", "1ms"], False),  # nor would that do
        ("deepseek_v3", ["--platform", "h200_sxm_8"], False),  # was published in it
    ],
)  # fmt: skip
def test_fp8_is_named_where_it_was_not_tried_and_runs(model, words, said):
    result = CliRunner().invoke(main, ["size", model, *QUESTION, *words])
    assert result.exit_code in {0, 1}, result.output
    assert (
        "--precision native,fp8_block,w8a8 would also try" in " ".join(result.stdout.split())
    ) is said
