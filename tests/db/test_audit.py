"""The database passes its audit, the audit sees what it is there for, and nothing is missing."""

import datetime as dt
import re

import pytest

from genz.core.errors import UnknownNameError
from genz.db import registry
from genz.db.audit import facts, findings, list_rules
from genz.spec.hardware import Price

BINARY, BINARY_TERA = 2.0**30 / 1e9, 2.0**40 / 1e12
DEVICES = [
    name for name in registry.list_accelerators()
    if registry.accelerator(name).generation != "concept"
]  # fmt: skip


def found(kind, entry):
    return findings(kind, entries={entry.name: entry})


def peaks(device, factor):
    return device.replace(peak_flop_rate={f: factor * p for f, p in device.peak_flop_rate.items()})


@pytest.mark.parametrize("kind", registry.KINDS)
def test_every_entry_passes(kind):
    table = findings(kind)
    assert table.empty, f"\n{table.drop(columns='kind').to_string()}"


# --- what the audit must see, on every real device -------------------------------------------------

MUTANTS = {
    "sparse peak": lambda d: peaks(d, 2.0),
    "half the peak": lambda d: peaks(d, 0.5),
    "binary peak": lambda d: peaks(d, BINARY_TERA),
    "gibibytes of bandwidth": lambda d: d.replace(memory_bandwidth=d.memory_bandwidth * BINARY),
    "tebibytes of bandwidth": lambda d: d.replace(
        memory_bandwidth=d.memory_bandwidth * BINARY_TERA
    ),
    "bandwidth of both directions": lambda d: d.replace(memory_bandwidth=2 * d.memory_bandwidth),
    "half the bandwidth": lambda d: d.replace(memory_bandwidth=d.memory_bandwidth / 2),
    "gibibytes of capacity": lambda d: d.replace(
        memory_capacity=d.memory_capacity * BINARY, usable_capacity=d.usable_capacity
    ),
    "gibibytes less of capacity": lambda d: d.replace(
        memory_capacity=d.memory_capacity / BINARY, usable_capacity=d.usable_capacity
    ),
}


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutant_is_caught(name, mutant):
    assert not found("accelerator", MUTANTS[mutant](registry.accelerator(name))).empty


@pytest.mark.parametrize("name", facts.CLOCK_FROM_PEAK)
def test_sparse_peak_with_the_clock_computed_from_it_is_caught(name):
    # an entry written from a sparse peak doubles both, and so agrees with itself
    device = registry.accelerator(name)
    wrong = peaks(device, 2.0).replace(clock=2.0 * device.clock)
    assert "clock_is_plausible" in set(found("accelerator", wrong).rule)


def test_entries_with_such_a_clock_are_all_known():
    says_so = re.compile(
        r"clock = bf16 peak|bf16 peak / \(|clock = [\d.]+e12|is what \d+ Tflop/s needs"
    )
    named = {
        name for name in DEVICES for source in registry.accelerator(name).sources
        if "clock" in source.covers and says_so.search(source.note or "")
    }  # fmt: skip
    assert named <= set(facts.CLOCK_FROM_PEAK)


@pytest.mark.parametrize("name", DEVICES)
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_one_format_off_by_two_is_caught(name, factor):
    device = registry.accelerator(name)
    for number_format in {"tf32", "bf16", "fp16", "fp8", "fp6", "fp4", "int8"} & set(
        device.peak_flop_rate
    ):
        rates = dict(device.peak_flop_rate)
        rates[number_format] *= factor
        table = found("accelerator", device.replace(peak_flop_rate=rates))
        assert table.field.str.startswith("peak_flop_rate").any(), number_format


@pytest.mark.parametrize(
    "name", [n for n in DEVICES if registry.accelerator(n).link_bandwidth is not None]
)
@pytest.mark.parametrize("factor", [2.0, 0.5, BINARY])
def test_link_of_both_directions_is_caught(name, factor):
    device = registry.accelerator(name)
    wrong = device.replace(link_bandwidth=factor * device.link_bandwidth)
    assert "link_from_lanes" in set(found("accelerator", wrong).rule)


def test_link_of_a_platform_in_both_directions_is_caught():
    platform = registry.platform("h100_sxm_8").replace(link_bandwidth=900e9)
    assert "links_within_device" in set(found("platform", platform).rule)


def test_host_link_in_both_directions_is_caught():
    device = registry.accelerator("nvidia_h100_sxm").replace(host_bandwidth=128e9)
    assert list(found("accelerator", device).rule) == ["host_link_of_generation"]


def test_capacity_that_no_program_sees_is_caught():
    device = registry.accelerator("nvidia_h100_sxm").replace(usable_capacity=80 * 1.1e9)
    assert list(found("accelerator", device).rule) == ["usable_capacity_share"]


def test_ridge_point_outside_the_band_is_caught():
    device = registry.accelerator("nvidia_h100_sxm").replace(memory_bandwidth=335e9)
    assert "ridge_point" in set(found("accelerator", device).rule)


# --- prices, names, sources, dates -----------------------------------------------------------------


def test_price_that_nobody_offers_is_caught():
    platform = registry.platform("h100_sxm_8")
    assert list(found("platform", platform.replace(price=1.0)).rule) == ["price_is_an_offer"]
    assert list(found("platform", platform.replace(price=None)).rule) == ["price_is_an_offer"]


def test_price_of_a_whole_machine_is_caught():
    platform = registry.platform("h100_sxm_8")
    whole = Price(price=31.92, provider="p", date=dt.date(2026, 1, 1), url="https://example.org")
    wrong = platform.replace(price=31.92, prices=(whole,))
    assert list(found("platform", wrong).rule) == ["price_is_an_offer"]


def test_count_of_weights_far_from_the_name_is_caught():
    model = registry.model("llama3_1_8b")
    (group,) = model.groups
    wrong = model.replace(groups=(group.replace(count=2 * group.count),))
    assert list(found("model", wrong).rule) == ["parameters_as_named"]


def test_active_weights_far_from_the_name_are_caught():
    model = registry.model("qwen3_30b_a3b")
    (group,) = model.groups
    experts = group.feed_forward.replace(n_active=2 * group.feed_forward.n_active)
    wrong = model.replace(groups=(group.replace(feed_forward=experts),))
    assert list(found("model", wrong).field) == ["n_active_parameter"]


def test_name_that_is_not_the_stem_is_caught():
    device = registry.accelerator("nvidia_h100_sxm")
    table = findings("accelerator", entries={"nvidia_h100": device})
    assert list(table.rule) == ["name_is_stem"]


def test_uncovered_field_is_caught():
    device = registry.accelerator("nvidia_h100_sxm")
    kept = [s for s in device.sources if "usable_capacity" not in s.covers]
    table = found("accelerator", device.replace(sources=kept))
    assert list(table.field) == ["usable_capacity"]


def test_cover_of_no_field_is_caught():
    device = registry.accelerator("nvidia_h100_sxm")
    odd = device.sources[0].replace(covers=("speed",))
    table = found("accelerator", device.replace(sources=(*device.sources, odd)))
    assert list(table.expectation) == ["a field of the entry"]


def test_entry_without_sources_is_caught():
    workload = registry.workload("azure_code").replace(sources=())
    assert "has_sources" in set(found("workload", workload).rule)


def test_source_without_address_is_caught():
    workload = registry.workload("azure_code")
    odd = workload.sources[0].replace(url="a colleague")
    assert "has_sources" in set(found("workload", workload.replace(sources=(odd,))).rule)


def test_date_in_the_future_is_caught():
    table = findings("accelerator", today=dt.date(2020, 1, 1))
    table = table[table.rule == "dates_have_passed"]
    assert {f.split("[")[0] for f in table.field} == {"sources", "released"}
    offers = findings("platform", today=dt.date(2020, 1, 1))
    assert offers.field.str.startswith("prices[").any()


def test_unmarked_estimate_is_caught():
    device = registry.accelerator("nvidia_h100_sxm")
    hedged = device.sources[-1].replace(note="from memory")
    table = found("accelerator", device.replace(sources=(*device.sources[:-1], hedged)))
    assert list(table.rule) == ["estimates_are_marked"]


def test_unknown_kind_is_refused():
    with pytest.raises(UnknownNameError, match="no kind of entry named 'gpu'"):
        findings("gpu")


def test_rules_have_names_and_texts():
    assert {"ridge_point", "format_ratio", "peak_from_clock", "price_is_an_offer"} <= set(
        list_rules()
    )
    assert set(list_rules("workload")) < set(list_rules("accelerator"))


def test_facts_are_about_entries():
    known = set(registry.list_accelerators())
    for table in (
        facts.PINS,
        facts.LANES,
        facts.VARIANT,
        facts.PINNED_PEAK,
        facts.PINNED_BANDWIDTH,
    ):
        assert set(table) <= known


@pytest.mark.parametrize("exception", facts.EXCEPTIONS, ids="-".join)
def test_exception_is_needed(exception, monkeypatch):
    name, rule, field = exception
    monkeypatch.delitem(facts.EXCEPTIONS, exception)
    kind = next(k for k in registry.KINDS if name in getattr(registry, f"list_{k}s")())
    table = findings(kind, entries={name: getattr(registry, kind)(name)})
    assert (rule, field) in set(zip(table.rule, table.field, strict=True))


# --- what must be there ----------------------------------------------------------------------------

REQUIRED = {
    "accelerator": """
nvidia_v100_sxm nvidia_t4 nvidia_a10 nvidia_a10g nvidia_a30 nvidia_a40 nvidia_a100_40_sxm nvidia_a100_40_pcie
nvidia_a100_sxm nvidia_a100_pcie nvidia_a6000 nvidia_l4 nvidia_l20 nvidia_l40 nvidia_l40s nvidia_rtx_4090 nvidia_rtx_5090 nvidia_rtx_pro_6000
nvidia_rtx_6000_ada nvidia_gb10 nvidia_thor
nvidia_h20 nvidia_h20_141 nvidia_a800_sxm nvidia_h100_sxm nvidia_h100_pcie nvidia_h100_nvl nvidia_h800_sxm nvidia_h200_sxm nvidia_h200_nvl nvidia_gh200
nvidia_b100 nvidia_b200 nvidia_b300 nvidia_gb200 nvidia_gb300 nvidia_vr200 aws_inferentia2 aws_trainium2 aws_trainium3
amd_mi210 amd_mi250 amd_mi300x amd_mi325x amd_mi355x
google_tpu_v4 google_tpu_v5e google_tpu_v5p google_tpu_v6e
intel_gaudi2 intel_gaudi3 sambanova_sn40l groq_lpu cerebras_wse2 cerebras_wse3
    """,
    "model": """
gpt2_small gpt2_xl gpt3_175b gpt4_1_8t
llama_7b llama_13b llama_33b llama_65b llama2_7b llama2_13b llama2_70b llama3_8b llama3_70b
llama3_1_8b llama3_1_70b llama3_1_405b llama3_2_1b llama3_2_3b llama3_3_70b llama4_scout llama4_maverick
mistral_7b_v0_1 mixtral_8x7b mixtral_8x22b
qwen2_7b qwen2_72b qwen2_57b_a14b qwen2_5_7b qwen2_5_72b qwen3_8b qwen3_32b qwen3_30b_a3b qwen3_235b_a22b
qwen3_5_27b qwen3_5_35b_a3b qwen3_5_397b_a17b qwen3_next_80b_a3b mistral_large_3 seed_oss_36b gemma4_31b
granite4_h_small ernie4_5_21b_a3b ernie4_5_300b_a47b step3_5_flash hy3_295b_a21b hunyuan_a13b command_a_plus grok_2
glm4_7 kimi_k2_thinking minimax_m2 mimo_v2_5 mimo_v2_5_pro mistral_small_3_1_24b gemma4_12b olmo3_7b
qwen3_5_122b_a10b qwen3_vl_235b_a22b qwen3_vl_8b mistral_small_4 smollm3_3b
deepseek_v2 deepseek_v3 deepseek_r1 deepseek_v3_1 deepseek_v3_2 kimi_k2 kimi_k2_5 glm4_7_flash gpt_oss_20b gpt_oss_120b
gemma_2b gemma_7b gemma2_9b gemma2_27b gemma3_12b gemma3_27b phi3_mini
opt_13b opt_66b opt_175b bloom_176b falcon_7b falcon_40b falcon_180b yi_6b yi_34b
internlm_20b internlm2_20b codellama_34b glm4_9b glm4_5 glm5 minimax_text_01 minimax_m2_5
mamba_2_8b mamba2_2_7b jamba_v0_1 jamba_1_5_large nemotron_h_8b nemotron_h_56b genz_super_llm_10t
    """,
    "platform": """
v100_sxm_8 t4_1 a10_1 a10g_4 a30_1 a40_8 a100_40_sxm_8 a100_sxm_8 a100_pcie_1 a6000_8 l4_1 l20_1 l40_1 l40s_8 rtx_4090_8
rtx_6000_ada_1 gb10_1 gb10_2 thor_1
rtx_pro_6000_8 h20_8 h20_141_8 a800_sxm_8 h100_sxm_1 h100_sxm_8 h100_pcie_8 h100_nvl_2 h800_sxm_8 h200_sxm_8 gh200_1 b100_8 b200_8
b300_8 gb200_nvl72 gb300_nvl72 vr200_nvl72 rtx_5090_8 h200_nvl_4 trainium3_64 mi210_8 mi250_8 mi300x_8 mi325x_8 mi355x_8 tpu_v4_8 tpu_v5e_8 tpu_v5p_8
tpu_v6e_8 gaudi2_8 gaudi3_8 sn40l_8 groq_lpu_8 cerebras_wse3_1
    """,
    "workload": """
azure_code azure_conversation sharegpt humaneval longbench arxiv_summarization burstgpt
genz_chat genz_code genz_question_answering genz_rag genz_summarization
    """,
    "engine": "ideal vllm_2023 vllm_0_15 vllm_0_19 tensorrt_llm sglang distserve",
}
LEAST = {"accelerator": 60, "platform": 80, "engine": 6, "model": 120, "workload": 15}


@pytest.mark.parametrize("kind", registry.KINDS)
def test_required_entries_are_there(kind):
    listed = getattr(registry, f"list_{kind}s")()
    assert not set(REQUIRED[kind].split()) - set(listed)
    assert len(listed) >= LEAST[kind]


def test_real_devices_are_enough():
    assert len(DEVICES) >= 35
