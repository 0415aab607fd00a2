"""Several platforms in one record are what each is alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import genz
from genz.core.errors import InputError
from genz.spec.deployment import Objective, Workload

MODEST = settings(max_examples=60, deadline=None)
REAL = [
    name
    for name in genz.list_platforms()
    if genz.platform(name).accelerator.generation != "concept"
]
MODELS = ("llama3_8b", "mixtral_8x7b", "gpt_oss_120b", "deepseek_v3", "nemotron_h_8b")
FIELDS = ("ttft", "tpot", "energy", "ttft_error", "tpot_error", "fits")
CASE = {"batch": 8, "prompt": 1500, "output": 200}


@MODEST
@given(data=st.data())
def test_stacked_platforms_are_what_each_is_alone(data):
    """Whatever the others have or lack: formats, constants of some libraries, an idle power."""
    names = data.draw(st.lists(st.sampled_from(REAL), min_size=2, max_size=3, unique=True))
    model = data.draw(st.sampled_from(MODELS))
    options = {
        "precision": data.draw(st.sampled_from(["bf16", "fp8", "w4a16", "native"])),
        "engine": data.draw(st.sampled_from(["ideal", "vllm_0_24", "sglang", "tensorrt_llm"])),
    }
    alone = []
    for name in names:
        try:
            alone.append(genz.generate(model, name, **CASE, **options))
        except (genz.UnsupportedFormatError, InputError):  # or software of another maker's devices
            return
    many = genz.generate(model, genz.stack_platforms(names), **CASE, **options)
    for field in FIELDS:
        each = [float(getattr(one, field)) for one in alone]
        np.testing.assert_allclose(getattr(many, field), each, rtol=1e-12, err_msg=field)


def test_experts_of_4_bits_are_widened_where_a_device_must():
    """Hopper widens the weights of gpt-oss before it multiplies, Blackwell, beside it too, does not."""
    names = ["h100_sxm_8", "b200_8"]
    case = {"batch": 16, "context": 1000, "precision": "native", "engine": "tensorrt_llm"}
    both = genz.decode("gpt_oss_120b", genz.stack_platforms(names), **case)
    alone = [genz.decode("gpt_oss_120b", name, **case) for name in names]
    assert both.time == pytest.approx([step.time for step in alone], rel=1e-12)
    assert alone[0].overhead_time > 3.0 * alone[1].overhead_time


def test_a_plan_is_the_same_whatever_the_other_candidates():
    goal = Objective(rate=20.0, ttft=1.0, tpot=0.012)
    for engine in ("vllm_0_24", "tensorrt_llm"):
        best = {}
        for others in ([], ["h100_sxm_8"], ["h100_sxm_8", "mi300x_8"]):
            found = genz.size(
                "gpt_oss_120b",
                Workload.of(prompt=2000, output=300),
                goal,
                platforms=["b200_8", *others],
                engine=engine,
            )
            plan = next(p for p in found.plans if p.platform == "b200_8")
            best[len(others)] = (plan.n_accelerator, plan.parallel.label, plan.tpot, plan.ttft)
        assert best[0][:2] == best[1][:2] == best[2][:2]
        assert best[1][2:] == pytest.approx(best[0][2:], rel=1e-9)
        assert best[2][2:] == pytest.approx(best[0][2:], rel=1e-9)


def test_devices_that_lack_a_format_are_named_by_what_all_have():
    both = genz.stack_platforms(["a100_sxm_8", "h100_sxm_8"]).accelerator
    assert both.takes("bf16") is True
    assert both.takes("fp8").tolist() == [False, True]
    assert both.takes("fp4") is False
    assert both.take(np.array([1])).takes("fp8").tolist() == [True]
    with pytest.raises(genz.UnsupportedFormatError, match=r"has no matrix unit for fp8; it has "):
        both.peak("fp8")
