"""Reports: one file, no network, nothing that a name could smuggle in."""

import re

import numpy as np
import pytest

import genz
from genz.solve.report import frames
from genz.solve.report.case import case
from genz.solve.report.parts import kernels_row, routing_rows

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module")
def sizing():
    return genz.size(
        "llama3_70b", genz.Workload.of(2000, 300), genz.Objective(rate=8, ttft=1.0, tpot=0.05),
        platforms=["h100_sxm_8", "mi300x_8", "t4_1"], precision=["bf16", "w8a8"],
    )  # fmt: skip


def without_library(text):
    """Return a page without plotly.js itself."""
    return re.sub(r"<script>/\*\*.*?</script>", "", text, count=1, flags=re.DOTALL)


def check_alone(text):
    assert text.startswith("<!DOCTYPE html>")
    assert text.count("<!DOCTYPE html>") == 1
    assert "plotly.js v" in text
    own = without_library(text)
    assert len(own) < 300_000
    assert not re.search(r"<(script|img|iframe|object|embed)[^>]*\ssrc\s*=", own)
    assert not re.search(r"<link\b|@import|url\(", own)


class TestSizing:
    def test_stands_alone(self, sizing, tmp_path):
        path = sizing.report(tmp_path / "r.html")
        assert path == tmp_path / "r.html"
        check_alone(path.read_text())

    def test_says_the_answer_and_what_it_rests_on(self, sizing, tmp_path):
        text = sizing.report(str(tmp_path / "r.html")).read_text()
        best = sizing.best
        for plan in sizing.plans:
            assert plan.platform in text
        for words in (
            best.parallel.label, "Where the time goes", "Roofline", "Memory", "Limits and headroom",
            "next cheaper plan", "Assumptions", "places where the numbers were read", "Left out",
            "nvidia_t4 has no matrix unit", "90 %", "vllm", "USD per accelerator and hour",
            "8 requests/s of 2,000 tokens in, 300 out; ttft &lt;= 1 s, tpot &lt;= 50 ms (p90)",
            "fp8/fp8/bf16 *", "* weights requantised from bf16.",
        ):  # fmt: skip
            assert words in text

    def test_figures_are_there_once(self, sizing, tmp_path):
        text = sizing.report(tmp_path / "r.html").read_text()
        for name in (
            "plans",
            "limits",
            "decode_operators",
            "prefill_operators",
            "roofline",
            "memory",
        ):
            assert text.count(f'id="{name}"') == 1

    @pytest.mark.parametrize("rank", ["accelerators", "energy", "throughput"])
    def test_other_rankings(self, rank, tmp_path):
        answer = genz.size(
            "llama3_8b", genz.Workload.of(2000, 300), genz.Objective(rate=2, rank=rank),
            platforms=["h100_sxm_8", "genz_h100_8"], engine="ideal", precision="bf16",
        )  # fmt: skip
        text = answer.report(tmp_path / "r.html").read_text()
        assert f"ranked by {rank}" in text
        assert "the physical bound" in text

    def test_no_plan_is_a_page_too(self, tmp_path):
        answer = genz.size(
            "llama3_70b", genz.Workload.of(2000, 300), genz.Objective(rate=8, ttft=1e-6),
            platforms=["h100_sxm_8", "t4_1"],
        )  # fmt: skip
        text = answer.report(tmp_path / "r.html").read_text()
        check_alone(text)
        assert "No plan meets the limits" in text
        assert "cannot be met" in text

    def test_hostile_names_are_escaped(self, tmp_path):
        model = genz.model("llama3_8b").replace(name=HOSTILE)
        chip = genz.accelerator("nvidia_h100_sxm").replace(name=HOSTILE)
        source = chip.sources[0].replace(url="javascript:alert(1)", title=HOSTILE, note=HOSTILE)
        platform = genz.platform("h100_sxm_8").replace(
            name=HOSTILE, accelerator=chip.replace(sources=(source,))
        )
        engine = genz.engine("ideal").replace(name=HOSTILE)
        answer = genz.size(
            model, genz.Workload.of(2000, 300, name=HOSTILE), genz.Objective(rate=2),
            platforms=[platform], engine=engine, precision="bf16",
        )  # fmt: skip
        check_clean(answer.report(tmp_path / "r.html").read_text())
        found = case(model, platform, prompt=2000, output=300, engine=engine)
        check_clean(found.report(tmp_path / "e.html").read_text())


def check_clean(text):
    own = without_library(text)
    assert "alert(" in own
    assert "<script>alert" not in own
    assert "<img" not in own
    assert 'href="javascript' not in own


#: Kernels on rows, which only one device was measured on with a recent release.
LENT_PREFILL = (
    "gemm bf16 fp8, experts bf16 fp8, attention prefill, elementwise bf16, latent prefill, latent decode with "
    "constants of nvidia_h100_sxm (estimate)"
)
NO_ATTENTION = "attention prefill, attention decode not measured (estimate: priors)"
LENT_ROWS = "elementwise bf16_activation bf16_norm bf16_rope with constants of nvidia_rtx_pro_6000 (estimate)"


class TestApart:
    """Long prompts and a tight time per token: workers of one phase need fewer machines."""

    def asked(self, **limits):
        goal = genz.Objective(rate=20, ttft=1.2, tpot=0.016, percentile="mean").replace(**limits)
        return genz.size(
            "llama3_1_70b", genz.Workload.of(8000, 200), goal, platforms=["h100_sxm_8"],
            precision="w8a8", parallel=[genz.Parallel(tensor=4), genz.Parallel(tensor=8)],
            disaggregated=True,
        )  # fmt: skip

    def check(self, answer, text):
        best = answer.ranking[0]
        assert best is answer.disaggregated[0]
        assert f"<h1>{best.n_accelerator} accelerators of h100_sxm_8, " in text
        assert f"{best.cost_per_hour:,.2f} USD per hour</h1>" in text
        assert best.label.replace(" x ", " \N{MULTIPLICATION SIGN} ") in text
        assert "Workers" in text
        assert text.count("<tr class='best'>") == 1
        check_alone(text)

    def test_the_page_is_headed_by_the_best_plan(self, tmp_path):
        answer = self.asked()
        text = answer.report(tmp_path / "r.html").read_text()
        self.check(answer, text)
        other = answer.plans[0]
        together = (
            f"whose replicas do both phases: {other.n_accelerator} accelerators of h100_sxm_8"
        )
        assert together in text
        lines = answer.explain().splitlines()
        assert lines[0].startswith("With prefill and decode apart: ")
        assert lines[1].startswith(f"Both phases together: {other.n_accelerator} accelerators")

    def test_where_no_replica_can_do_both(self, tmp_path):
        """The budget lies between the two."""
        costs = [p.cost_per_hour for p in self.asked().ranking]
        answer = self.asked(budget=sum(costs) / 2)
        text = answer.report(tmp_path / "r.html").read_text()
        assert not answer.plans
        self.check(answer, text)
        assert "No plan meets the limits" not in text
        assert "Assumptions" in text
        assert answer.explain().startswith("With prefill and decode apart: ")
        assert " No plan with both phases together. " in answer.explain()


class TestCase:
    def test_report(self, tmp_path):
        found = case("mixtral_8x7b", "h100_sxm_8", batch=4, prompt=2000, output=300,
                     parallel=genz.Parallel(tensor=4))  # fmt: skip
        text = found.report(tmp_path / "e.html").read_text()
        check_alone(text)
        assert "With 90 % probability" in text
        assert "exponent 1.2" in text  # how tokens choose experts is assumed
        assert "nvidia_h100_sxm" in text

    def test_what_does_not_fit_is_said_first(self, tmp_path):
        found = case("llama3_70b", "h100_sxm_8", prompt=2000, output=300)
        text = found.report(tmp_path / "e.html").read_text()
        assert "Does not fit into memory" in text

    def test_why_a_batch_cannot_run_is_told_apart(self):
        """110 tokens of Llama-3-8B take 14 MB: 80 GB hold some 4,000 of them, vLLM runs 1,024 at once."""
        load = {"prompt": 100, "output": 10, "engine": "vllm_0_19"}
        few = case("llama3_8b", "h100_sxm_1", batch=1024, **load)
        many = case("llama3_8b", "h100_sxm_1", batch=1100, **load)
        full = case("llama3_8b", "h100_sxm_1", batch=10_000, **load)
        assert few.misfit == ""
        assert many.misfit == "Too many at once: vllm_0_19 runs 1,024 requests at most."
        assert full.misfit == (
            "Does not fit into memory, and too many at once: vllm_0_19 runs 1,024 requests at most."
        )

    def test_what_holds_not_one_request_names_its_format(self):
        """141 GB of weights on a device of 85 GB."""
        none = case("llama3_1_70b", "h100_sxm_1", batch=9, prompt=100, output=10, precision="bf16")
        held = (
            none.memory
        )  # 141 GB of weights on a device of 80 GB, of which the engine fills nine tenths
        room = 0.9 * none.platform.accelerator.usable_capacity
        assert none.misfit == (
            "Does not fit into memory in bf16: not even one request would. For this batch an accelerator lacks "
            f"{(held.total - room) / 1e9:.3g} GB beyond the {room / 1e9:.3g} GB that the engine may fill."
        )

    def test_the_limit_is_the_smaller_of_memory_and_software(self):
        """1,000 tokens of Llama-3-8B take 131 MB: 80 GB hold some 400 of them; below 70 GiB vLLM runs 256 at once."""
        tokens = {"prompt": 900, "output": 100, "engine": "vllm_0_19"}
        full = case("llama3_8b", "h100_sxm_1", batch=10_000, **tokens)
        fits = int(full.memory.max_batch)
        assert 300 < fits < 1024
        assert full.misfit == f"Does not fit into memory: at most {fits} requests would."
        small = case("llama3_8b", "a100_40_sxm_1", batch=10_000, **tokens | {"prompt": 100})
        assert small.misfit.endswith(": vllm_0_19 runs 256 requests at most.")

    @pytest.mark.parametrize(
        ("platform", "engine", "words"),
        [
            ("h100_sxm_1", "vllm_0_19", f"as measured with vllm; {LENT_ROWS}"),
            ("h100_sxm_1", "ideal", "none: the roofline"),
            ("mi300x_1", "vllm_0_19", "estimate: fitted on whole runs of vllm"),
            ("tpu_v5e_1", "vllm_0_19", "estimate: priors, google_tpu_v5e was not measured"),
            ("a100_40_sxm_8", "vllm_0_19", f"estimate: constants of nvidia_a100_sxm; {LENT_ROWS}"),
            (
                "a100_40_sxm_8",
                "tensorrt_llm",
                f"estimate: constants of nvidia_a100_sxm; {LENT_ROWS}",
            ),
            (
                "l4_8",
                "vllm_0_19",
                f"estimate: constants of nvidia_l40s; elementwise bf16 with constants of nvidia_a40 (estimate); {LENT_ROWS}",
            ),
            (
                "rtx_pro_6000_8",
                "vllm_0_19",
                "as measured with vllm; elementwise bf16 with constants of nvidia_a40 (estimate)",
            ),
            (
                "h20_8",
                "vllm_0_19",
                f"as measured with vllm; {LENT_PREFILL}; {LENT_ROWS}",
            ),
            (
                "mi210_8",
                "vllm_0_19",
                "as measured with pytorch; attention prefill, attention decode not measured (estimate: priors)",
            ),
            (
                "tpu_v6e_8",
                "vllm_0_19",
                "as measured with transformers; attention prefill, attention decode with torch_xla",
            ),
        ],
    )
    def test_whose_kernels_the_times_are_of(self, platform, engine, words):
        found = case("llama3_8b", platform, prompt=100, output=10, engine=engine)
        assert kernels_row(found) == ("kernels", words)

    @pytest.mark.parametrize(
        ("platform", "exchange", "words"),
        [
            ("h100_sxm_8", "deepep", "DeepEP, its normal and low-latency kernels in steps with prompts and in others, as measured"),
            ("b200_8", "deepep_normal", "DeepEP, its normal kernels, constants of other devices (estimate)"),
            ("gb200_nvl72", "deepep_low_latency", "DeepEP, its low-latency kernels, as measured"),
            ("h100_sxm_8", "gather", None),
        ],
    )  # fmt: skip
    def test_which_kernels_take_tokens_to_experts(self, platform, exchange, words):
        """On two nodes of H100 and on one rack of GB200 they were measured, not on two nodes of B200."""
        case_ = {"prompt": 100, "output": 10, "parallel": genz.Parallel(data=16, expert=16)}
        engine = genz.engine("vllm_0_24").replace(exchange=exchange)
        found = case("qwen3_30b_a3b", platform, engine=engine, **case_)
        assert dict(routing_rows(found)).get("tokens to experts") == words

    def test_kernels_that_only_another_software_has_are_not_the_engines(self):
        chip = genz.accelerator("nvidia_h100_sxm")
        lent = chip.replace(kernel={"gemm": {"bf16": chip.kernel["gemm"]["bf16"]}})
        platform = genz.platform("h100_sxm_1").replace(accelerator=lent)
        found = case("llama3_8b", platform, prompt=100, output=10, engine="tensorrt_llm")
        assert kernels_row(found)[1] == f"as measured with vllm; {NO_ATTENTION}"

    def test_kernels_that_another_software_lends_are_named(self):
        chip = genz.accelerator("nvidia_h100_sxm")
        lent = chip.replace(kernel={"gemm": chip.kernel["gemm"], "norm": {}})
        platform = genz.platform("h100_sxm_1").replace(accelerator=lent)
        found = case("llama3_8b", platform, prompt=100, output=10, engine="tensorrt_llm")
        assert kernels_row(found)[1] == f"as measured with trtllm; norm with vllm; {NO_ATTENTION}"

    @pytest.mark.parametrize("model", ["mamba_2_8b", "deepseek_v3_2", "gemma3_27b"])
    def test_models_of_other_kinds(self, model, tmp_path):
        found = case(
            model, "h100_sxm_8", batch=2, prompt=500, output=1, parallel=genz.Parallel(tensor=8)
        )
        check_alone(found.report(tmp_path / "e.html").read_text())

    def test_numbers_are_those_of_the_predictions(self):
        layout = {"parallel": genz.Parallel(tensor=8), "precision": "w8a8", "engine": "vllm_0_15"}
        load = {"batch": 16, "prompt": 2000, "output": 300, "cached": 500}
        found = case("llama3_70b", "h100_sxm_8", **load, **layout)
        done = genz.generate("llama3_70b", "h100_sxm_8", **load, **layout)
        data = found.to_dict()
        assert data["ttft"] == done.ttft
        assert data["energy_per_token"] == done.energy_per_token
        assert data["cost_per_hour"] == 8 * genz.platform("h100_sxm_8").price
        assert data["memory"]["total"] == found.memory.total
        assert data["precision"] == "fp8/fp8/bf16"
        frame = found.to_frame()
        assert frame.loc[0, "tpot_low"] < frame.loc[0, "tpot"] < frame.loc[0, "tpot_high"]
        assert set(frame.select_dtypes("number").columns) <= set(frame.attrs["units"])

    def test_a_file_that_cannot_be_written_is_named(self, tmp_path):
        found = case("llama3_8b", "h100_sxm_1", prompt=10, output=10)
        with pytest.raises(
            genz.InputError, match=r"^cannot write .*none/a\.html: No such file or directory$"
        ):
            found.report(tmp_path / "none" / "a.html")

    def test_operators_add_up_to_the_step(self):
        found = case("llama3_70b", "h100_sxm_8", batch=16, prompt=2000, output=300,
                     parallel=genz.Parallel(tensor=8), engine="ideal")  # fmt: skip
        frame = found.operators()
        for phase in ("prefill", "decode"):
            total = frame.loc[frame["phase"] == phase, "time"].sum()
            assert np.isclose(total, getattr(found, phase).time, rtol=1e-9)

    def test_a_kernel_that_layers_bind_differently_is_one_bar(self):
        """Windows of 128 tokens leave prompts bound by memory, full attention is bound by arithmetic."""
        found = case("gpt_oss_120b", "rtx_pro_6000_1", batch=8, prompt=1000, output=300)
        whole = found.prefill.operators()
        own = whole[whole["kernel"] == "attention_prefill"]
        assert set(own["bound"]) == {"memory", "compute"}
        bars = frames.operators(found, "prefill").set_index("label")
        assert bars.index.is_unique
        assert bars.loc["attention prefill", "time"] == pytest.approx(own["time"].sum())
        assert bars.loc["attention prefill", "bound"] == own.loc[own["time"].idxmax(), "bound"]
        assert bars["share"].sum() == pytest.approx(1.0)

    def test_native_precision_is_that_of_the_checkpoint(self):
        found = case("deepseek_v3", "h100_sxm_8", prompt=10, output=10, precision="native")
        assert found.precision == genz.model("deepseek_v3").precision
