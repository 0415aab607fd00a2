"""One step: parts, bounds, errors, and what changes it in which direction."""

import numpy as np
import pandas as pd
import pytest

import genz
from genz.core.errors import InputError, UnknownNameError, UnsupportedFormatError
from genz.serve.generate import generate
from genz.serve.memory import memory
from genz.serve.step import BOUNDS, decode, mixed, prefill
from genz.spec.deployment import Adapter, Engine, Offload, Parallel, Routing
from genz.spec.model import Dense
from genz.spec.precision import Precision

IDEAL = Engine(name="ideal", efficiency="ideal")


def calls(model, platform, **options):
    """Every prediction of the layer, on the same model and platform."""
    return {
        "prefill": lambda: prefill(model, platform, **({"prompt": 9} | options)),
        "decode": lambda: decode(model, platform, **({"context": 9} | options)),
        "mixed": lambda: mixed(
            model, platform,
            **({"prefill_tokens": 4, "decode_batch": 2, "decode_context": 9} | options),
        ),
        "generate": lambda: generate(model, platform, **({"prompt": 9, "output": 3} | options)),
        "memory": lambda: memory(model, platform, **({"context": 9} | options)),
    }  # fmt: skip


@pytest.mark.parametrize("phase", ["prefill", "decode", "mixed"])
def test_parts_add_up_to_the_time(zoo, cluster, calibrated, phase):
    for engine in (IDEAL, calibrated):
        parallel = Parallel(tensor=2, pipeline=2, micro_batch=2)
        step = calls(zoo["gqa"], cluster, engine=engine, parallel=parallel)[phase]()
        parts = [getattr(step, f"{name}_time") for name in BOUNDS]
        assert step.time == sum(parts)
        assert all(part >= 0.0 for part in parts)
        assert step.bound == BOUNDS[int(np.argmax(parts))]
        frame = step.to_frame()
        assert frame["time"].tolist() == [step.time]
        assert frame.attrs["units"]["time"] == "s"


def test_bound_names_the_largest_part(tiny, zoo, cluster, calibrated):
    model = zoo["gqa"]
    square = tiny(None, Dense(width=4096), width=4096)
    assert prefill(square, cluster, batch=4, prompt=4096).bound == "compute"
    assert decode(model, cluster, context=9).bound == "memory"
    slow = cluster.replace(link_latency=1e-2)
    assert decode(model, slow, context=9, parallel=Parallel(tensor=2)).bound == "network"
    assert decode(model, cluster, context=9, engine=calibrated).bound == "overhead"


def test_operators_add_up_to_the_step(zoo, cluster, calibrated):
    options = {"engine": calibrated, "parallel": Parallel(tensor=2)}
    step = decode(zoo["shared"], cluster, batch=[1, 8, 64], context=100, **options)
    frame = step.operators()
    fixed = 2 * 10e-6 + 1e-3 + np.array([1, 8, 64]) * 1e-5
    by_case = frame.groupby("case")["time"].sum().to_numpy()
    np.testing.assert_allclose(by_case + fixed, step.time, rtol=1e-12)
    np.testing.assert_allclose(frame.groupby("case")["flop"].sum() * 2, step.flop, rtol=1e-12)
    np.testing.assert_allclose(frame.groupby("case")["traffic"].sum() * 2, step.traffic, rtol=1e-12)
    assert set(frame["bound"]) <= {"compute", "memory", "network"}
    assert frame.attrs["units"]["traffic"] == "B"


@pytest.mark.parametrize("shape", [(), (2,), (2, 1), (1, 2)])
def test_operators_have_rows_for_cases_that_are_alike(shape):
    """Decode of a state space does not depend on the context: each case has its rows all the same."""
    context = np.arange(1, 1 + np.prod(shape)).reshape(shape) * 1000
    step = genz.decode("mamba2_2_7b", "mi300x_8", context=context)
    frame, one = step.operators(), genz.decode("mamba2_2_7b", "mi300x_8", context=1000).operators()
    assert frame["case"].nunique() == context.size
    for _, own in frame.drop(columns="case").groupby(frame["case"]):
        pd.testing.assert_frame_equal(own.reset_index(drop=True), one.drop(columns="case"))


@pytest.mark.parametrize("formats", ["bf16", "w8a8", "fp8_block", "nvfp4"])
def test_messages_carry_16_bits_between_products_in_fewer(formats):
    """By hand: 64 tokens of 8,192 channels and 2 B, in 80 layers, at the embedding, between stages; of 128,256 logits."""
    layout = Parallel(tensor=4, pipeline=2)
    step = genz.decode(
        "llama3_1_70b", "b200_8", batch=64, context=1000, parallel=layout, precision=formats
    )
    rows = step.operators().groupby("operator")["message_bytes"].sum()
    token = 64 * 8192 * 2
    assert rows[["out", "down"]].tolist() == [80 * token] * 2
    # two vectors, a slice from each of four ranks, which the next stage's gather
    assert rows[["embedding", "stage", "stage_gather"]].tolist() == [
        token,
        2 * token / 4,
        2 * token,
    ]
    assert rows["logits"] == 64 * 128_256 * 2


def test_stages_hand_over_all_residual_streams(zoo):
    """By hand: five tokens of three streams of 64 channels and 2 B; of one stream, its sum and what the last layer adds.

    Of the three blocks of attention residuals, one and a half in the mean of all places where stages could meet.
    """
    size = {}
    for name in ("streams", "shared", "blocks"):
        layout = {"parallel": Parallel(pipeline=2), "engine": "vllm_0_19"}
        rows = genz.decode(zoo[name], "h100_sxm_8", batch=5, context=10, **layout).operators()
        size[name] = rows.groupby("operator")["message_bytes"].sum()["stage"]
    vector = 5 * 64 * 2
    assert size == {"streams": 3 * vector, "shared": 2 * vector, "blocks": 3.5 * vector}


def test_tokens_go_to_experts_in_the_format_of_their_inputs_and_come_back_in_16_bits():
    """DeepEP: dispatch in fp8, combine in bf16."""
    spread = {"parallel": Parallel(data=8, expert=8), "batch": 64, "context": 1000}
    spread["engine"] = "ideal"
    rows = [
        genz.decode("deepseek_v3", "b200_8", precision=p, **spread)
        .operators()
        .set_index("operator")
        for p in ("bf16", "fp8_block")
    ]
    wide, narrow = (r["message_bytes"] for r in rows)
    assert narrow["dispatch"] == pytest.approx(wide["dispatch"] / 2)
    assert narrow["combine"] == wide["combine"] == pytest.approx(wide["dispatch"])


@pytest.mark.parametrize(
    ("formats", "width"), [("bf16", 2), ("fp8_block", 2), ("w8a8", 1), ("nvfp4", 4.5 / 8)]
)
def test_engines_give_all_tokens_to_as_few_expert_groups_as_a_token_has_experts(formats, width):
    """TensorRT-LLM 1.0: no all-to-all where moe_ep_size <= top_k. By hand: 64 tokens of 7168 channels in 58 layers."""
    case = {
        "batch": 64,
        "context": 1000,
        "precision": formats,
        "parallel": Parallel(data=8, expert=8),
    }
    step = genz.decode("deepseek_v3", "b200_8", engine="tensorrt_llm", **case)
    sent = {
        m.name: m for m in step._work.messages if m.collective != "all_reduce" and np.any(m.count)
    }
    kinds = {name: sent[name].collective for name in ("dispatch", "combine")}
    assert kinds == {"dispatch": "all_gather", "combine": "reduce_scatter"}
    rows = step.operators().groupby("operator")["message_bytes"].sum()
    assert rows["dispatch"] == 58 * 64 * 7168 * width
    assert rows["combine"] == 58 * 64 * 7168 * 2


@pytest.mark.parametrize(("expert", "collective"), [(8, "all_gather"), (16, "all_to_all")])
def test_engines_send_tokens_to_many_expert_groups(expert, collective):
    platform = genz.platform("gb200_nvl72")
    step = genz.decode(
        "deepseek_v3", platform, batch=64, context=1000, precision="fp8_block",
        parallel=Parallel(data=expert, expert=expert), engine="tensorrt_llm",
    )  # fmt: skip
    (found,) = (m for m in step._work.messages if m.name == "dispatch")
    assert found.collective == collective


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize("engine", ["ideal", "vllm_0_24"])
def test_operators_of_cases_with_several_axes_are_those_in_a_row(shape, engine):
    """Case by case in the order of the memory."""
    batch = np.arange(1, 1 + np.prod(shape))
    asked = {"context": 100, "parallel": Parallel(tensor=2, pipeline=2), "engine": engine}
    found, flat = (
        genz.decode("mixtral_8x7b", "h100_sxm_8", batch=b, **asked).operators()
        for b in (batch.reshape(shape), batch)
    )
    pd.testing.assert_frame_equal(found, flat)


@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_interval_holds_the_time_and_widens(zoo, cluster, calibrated, phase):
    step = calls(zoo["gqa"], cluster, engine=calibrated, batch=[1, 64])[phase]()
    before = (step.time, step.time)
    for coverage in (0.1, 0.5, 0.9, 0.99):
        low, high = step.interval(coverage)
        assert (low < before[0]).all()
        assert (high > before[1]).all()
        before = (low, high)
    # 90 % of a normal distribution lie within 1.6449 standard deviations
    low, high = step.interval(0.9)
    np.testing.assert_allclose(np.log(high / step.time), 1.6449 * step.log_error, rtol=1e-4)
    np.testing.assert_allclose(low * high, step.time**2, rtol=1e-12)


def test_the_ideal_bound_has_no_spread(zoo, cluster):
    step = decode(zoo["gqa"], cluster, context=9)
    assert step.log_error == 0.0
    assert step.interval(0.9) == (step.time, step.time)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 1.5])
def test_coverage_outside_its_range_is_refused(zoo, cluster, coverage):
    with pytest.raises(InputError, match=r"^coverage must be in "):
        decode(zoo["gqa"], cluster, context=9).interval(coverage)


def test_message_of_a_coverage_does_not_contradict_itself(zoo, cluster):
    with pytest.raises(InputError, match=r"^coverage must be in \(0, 1\), got 1$"):
        decode(zoo["gqa"], cluster, context=9).interval(1.0)


@pytest.mark.parametrize(
    ("model", "platform", "n_layer"),
    [
        ("gpt_oss_20b", "h100_sxm_8", 24),  # mxfp4 experts in every layer, products in 16 bits
        ("gpt_oss_20b", "b200_8", 0),
        ("mixtral_8x7b", "h100_sxm_8", 0),  # experts of 16 bits
        ("llama3_1_8b", "h100_sxm_8", 0),
    ],
)
def test_engines_spend_time_on_experts_whose_weights_are_widened(model, platform, n_layer):
    engine = genz.engine("ideal").replace(efficiency="calibrated")
    slow = engine.replace(overhead_expert_widened=1e-3)
    load = {"batch": np.array([1.0, 64.0]), "context": 1000, "precision": "native"}
    times = [
        genz.decode(model, platform, parallel=genz.Parallel(tensor=8), engine=e, **load).time
        for e in (slow, engine)
    ]
    assert times[0] - times[1] == pytest.approx(1e-3 * n_layer, abs=1e-12)


@pytest.mark.parametrize("name", ["prefill", "decode", "mixed", "generate", "memory"])
def test_unknown_keyword_is_refused(zoo, cluster, name):
    for wrong in ({"precison": "fp8"}, {"contxt": 3}, {"sla": 0.1}):
        with pytest.raises(InputError) as caught:
            calls(zoo["gqa"], cluster, **wrong)[name]()
        assert str(caught.value) == (
            f"unknown keyword {next(iter(wrong))!r}; options: parallel, precision, engine, "
            "efficiency, routing, adapter, offload"
        )


@pytest.mark.parametrize("name", ["prefill", "decode", "mixed", "generate", "memory"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"parallel": 8}, "parallel must be a Parallel, got 8"),
        ({"engine": "vllm"}, "engine must be a Engine, got 'vllm'"),
        ({"routing": "even"}, "routing must be a Routing, got 'even'"),
        ({"offload": 0.5}, "offload must be a Offload, got 0.5"),
        ({"adapter": 16}, "adapter must be a Adapter, got 16"),
        ({"precision": 16}, "precision must be a Precision or a name, got 16"),
        ({"efficiency": "fast"}, "efficiency must be one of ideal, calibrated, got 'fast'"),
        ({"parallel": Parallel(pipeline=3)}, "parallel.pipeline must be <= 2 layers, got 3"),
        ({"parallel": Parallel(tensor=9)}, "parallel.tensor must be <= 8 heads of tiny, got 9"),
        (
            {"parallel": Parallel(tensor=[1, 2, 9])},
            "parallel.tensor must be <= 8 heads of tiny, got 9 at index (2,)",
        ),
        ({"parallel": Parallel(tensor=2, expert=2)}, "parallel.expert must be 1, tiny has no experts, got 2"),
        ({"parallel": Parallel(data=65)}, "parallel.size must be <= 64 accelerators of cluster, got 65"),
        (
            {"parallel": Parallel(data=[64, 128])},
            "parallel.size must be <= 64 accelerators of cluster, got 128 at index (1,)",
        ),
    ],
)  # fmt: skip
def test_trap_15_each_failure_has_its_own_message(zoo, cluster, name, options, message):
    with pytest.raises(InputError) as caught:
        calls(zoo["gqa"], cluster, **options)[name]()
    assert str(caught.value) == message


def test_more_expert_groups_than_experts_are_refused(zoo, cluster):
    parallel = Parallel(data=16, expert=16)
    with pytest.raises(InputError, match=r"^parallel.expert must be <= 8 experts of tiny, got 16$"):
        decode(zoo["experts"], cluster, context=9, parallel=parallel)


def test_model_and_platform_are_records_here(zoo, cluster):
    with pytest.raises(InputError, match=r"^model must be a Model or a name, got 3$"):
        decode(3, cluster, context=9)
    with pytest.raises(InputError, match=r"^platform must be a Platform or a name, got None$"):
        decode(zoo["gqa"], None, context=9)


@pytest.mark.parametrize(
    ("name", "load", "message"),
    [
        ("prefill", {"batch": 0}, "batch must be a whole number >= 1, got 0"),
        ("prefill", {"prompt": 1.5}, "prompt must be a whole number >= 1, got 1.5"),
        ("prefill", {"cached": 9}, "prompt - cached must be >= 1 token, got 0"),
        ("prefill", {"prompt": [9, 9], "cached": [3, 12]}, "prompt - cached must be >= 1 token, got -3 at index (1,)"),
        ("prefill", {"logits": "none"}, "logits must be one of last, all, got 'none'"),
        ("prefill", {"batch": [1, 2], "prompt": [3, 4, 5]}, "arguments must broadcast together, got shapes batch (2,), prompt (3,)"),
        ("decode", {"context": -1}, "context must be >= 0 tokens, got -1"),
        ("decode", {"context": [1.0, np.nan]}, "context must be a number, got nan at index (1,)"),
        ("decode", {"batch": True}, "batch must be a number, got True"),
        ("decode", {"beams": 0}, "beams must be a whole number >= 1, got 0"),
        ("decode", {"shared": 10}, "shared must be <= context, got 10"),
        ("decode", {"batch": [1, 2], "parallel": Parallel(tensor=[1, 2, 4])}, "arguments must broadcast together, got shapes batch (2,), parallel (3,)"),
        ("mixed", {"prefill_tokens": 0}, "prefill_tokens must be > 0 tokens, got 0"),
        ("mixed", {"prefill_cached": -1}, "prefill_cached must be >= 0 tokens, got -1"),
        ("mixed", {"decode_batch": 0}, "decode_batch must be > 0, got 0"),
        ("mixed", {"decode_context": np.inf}, "decode_context must be >= 0 tokens, got inf"),
        ("mixed", {"shared": 10}, "shared must be <= decode_context, got 10"),
        ("generate", {"output": 0}, "output must be a whole number >= 1, got 0"),
        ("generate", {"cached": 9}, "prompt - cached must be >= 1 token, got 0"),
        ("generate", {"prompt": "9"}, "prompt must be a number or an array of numbers, got '9'"),
        ("memory", {"context": -1}, "context must be >= 0 tokens, got -1"),
        ("memory", {"batch": 1.5}, "batch must be a whole number >= 1, got 1.5"),
    ],
)  # fmt: skip
def test_bad_load_says_what_and_where(zoo, cluster, name, load, message):
    with pytest.raises(InputError) as caught:
        calls(zoo["gqa"], cluster, **load)[name]()
    assert str(caught.value) == message


def test_trap_20_a_format_that_the_device_lacks_is_refused(zoo):
    from genz.db import registry

    a100 = registry.platform("a100_sxm_8")
    with pytest.raises(UnsupportedFormatError) as caught:
        decode(zoo["gqa"], a100, context=9, precision="fp8")
    assert str(caught.value).startswith("nvidia_a100_sxm has no matrix unit for fp8; it has ")
    assert "bf16" in str(caught.value)
    # fp8 weights alone are read narrow and multiplied in bf16
    weights = Precision(weight="fp8")
    assert decode(zoo["gqa"], a100, context=9, precision=weights).time > 0
    assert decode(zoo["gqa"], a100, context=9, precision="fp16").time > 0
    with pytest.raises(UnknownNameError, match=r"^no precision named 'float16'"):
        decode(zoo["gqa"], a100, context=9, precision="float16")


def test_native_precision_is_that_of_the_checkpoint(zoo, cluster):
    stored = zoo["gqa"].replace(precision=Precision(weight="fp8", activation="fp8", cache="fp8"))
    native, named, plain = (
        decode(stored, cluster, context=9, precision=p) for p in ("native", "fp8", "bf16")
    )
    assert native.time == named.time < plain.time
    assert decode(zoo["gqa"], cluster, context=9, precision="native").time == plain.time


def test_options_change_the_answer(zoo, cluster, calibrated):
    """No keyword is ignored."""
    model = zoo["shared"]
    base = decode(model, cluster, batch=4, context=9, parallel=Parallel(data=4, expert=4))
    for change in (
        {"precision": "fp8"},
        {"engine": calibrated},
        {"efficiency": "calibrated"},
        {"routing": Routing(case="worst")},
        {"offload": Offload(weight=0.5)},
        {"beams": 2},
        {"parallel": Parallel(data=4, expert=2)},
    ):
        options = {"batch": 4, "context": 9, "parallel": Parallel(data=4, expert=4)} | change
        assert decode(model, cluster, **options).time != base.time


def test_price_is_optional(zoo, cluster):
    step = decode(zoo["gqa"], cluster, context=9, parallel=Parallel(tensor=2))
    assert step.cost == pytest.approx(2 * step.time * 3.6 / 3600)
    assert decode(zoo["gqa"], cluster.replace(price=None), context=9).cost is None


def test_adapters_of_latent_attention_are_refused(zoo, cluster):
    with pytest.raises(
        InputError, match=r"adapter\.mixer must be False, adapters of the latent .* got True"
    ):
        decode(zoo["latent"], cluster, context=9, adapter=Adapter(rank=4))
    plain = decode(zoo["latent"], cluster, context=9, engine=IDEAL)
    more = decode(
        zoo["latent"], cluster, context=9, engine=IDEAL, adapter=Adapter(rank=4, mixer=False)
    )
    assert more.traffic > plain.traffic


@pytest.mark.parametrize(
    ("name", "adapter"),
    [
        ("mamba_1", Adapter(rank=4)),
        ("experts", Adapter(rank=4, mixer=False)),
        ("gqa", Adapter(rank=4, mixer=False, feed_forward=False)),
    ],
)
def test_adapters_of_nothing_are_refused(zoo, cluster, name, adapter):
    with pytest.raises(InputError, match=r"adapter needs attention .* to adapt, tiny has none"):
        decode(zoo[name], cluster, context=9, adapter=adapter)


@pytest.mark.parametrize("name", ["int4", "int3", "int2"])
def test_no_serving_software_multiplies_activations_of_four_bits(zoo, cluster, name):
    """One name of a format stands for weights, activations and cache: right for a bound, never for a server."""
    with pytest.raises(
        InputError,
        match=rf"^precision must have activations of 8 bits or a 4-bit float under server, got {name}: w4a16 has 4-bit weights alone$",
    ):
        decode(
            zoo["gqa"],
            cluster,
            context=10,
            precision=name,
            engine=Engine(name="server", efficiency="calibrated", calibrated=True),
        )
