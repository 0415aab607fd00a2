"""Buckets of requests, and fleets from the library's own throughput."""

import numpy as np
import pytest

import genz
from genz.core.errors import InputError, UnknownNameError
from genz.solve.fleet.load import OUTPUT_EDGES, PROMPT_EDGES

LIMITS = genz.Objective(tpot=0.1)
SMALL = ["l4_1", "a100_pcie_1", "h100_sxm_1"]


def workload(prompt, output):
    return genz.Workload(prompt=genz.Lengths(**prompt), output=genz.Lengths(**output))


class TestLoad:
    def test_grid_of_sizes_and_shares(self):
        load = genz.Load.of([[200], [2000]], [100, 500], [[6, 0], [15, 6]])
        assert load.prompt.tolist() == [200, 2000, 2000]
        assert load.output.tolist() == [100, 100, 500]
        assert load.rate.tolist() == [[6, 15, 6]]
        assert (load.n_bucket, load.n_period, load.pool) == (3, 1, "load")

    @pytest.mark.parametrize(
        "known", [{"std": 1500.0}, {"median": 600.0}, {"p90": 2200.0}, {"p99": 6000.0}]
    )
    def test_buckets_of_a_workload_keep_rate_and_mean(self, known):
        given = workload({"mean": 1000.0, **known}, {"mean": 200.0, "std": 100.0})
        load = genz.Load.of_workload(given, 12.0, n_prompt=8, n_output=5)
        assert load.n_bucket == 40
        assert load.rate.sum() == pytest.approx(12.0)
        assert load.rate @ load.prompt / 12.0 == pytest.approx(1000.0)
        assert load.rate @ load.output / 12.0 == pytest.approx(200.0)

    @pytest.mark.parametrize(
        ("known", "quantile"),
        [({"std": 1500.0}, None), ({"median": 600.0}, 0.5), ({"p90": 2200.0}, 0.9)],
    )
    def test_buckets_are_the_distribution(self, known, quantile):
        """Means of thin buckets lie around the quantiles that the workload names."""
        load = genz.Load.of_workload(
            workload({"mean": 1000.0, **known}, {"mean": 1.0}), 1.0, n_prompt=2000
        )
        if quantile is None:
            spread = np.sqrt(np.mean((load.prompt - 1000.0) ** 2))
            assert spread == pytest.approx(1500.0, rel=0.05)  # the last bucket hides some
        else:
            assert np.quantile(load.prompt, quantile) == pytest.approx(*known.values(), rel=2e-3)

    def test_a_length_known_by_its_mean_is_one_bucket(self):
        load = genz.Load.of_workload(workload({"mean": 700.0}, {"mean": 80.0, "median": 90.0}), 2.0)
        assert (load.prompt.tolist(), load.output.tolist()) == ([700.0], [80.0])

    def test_beams_come_from_the_workload_and_take_room(self):
        wide = genz.Workload.of(500, 200, beams=4)
        load = genz.Load.of_workload(wide, 1.0)
        assert load.beams == 4
        rate = [
            genz.fleet(one, ["h100_sxm_1"], model="llama3_8b", objective=LIMITS).columns.rate.item()
            for one in (load, genz.Load.of_workload(wide.replace(beams=1), 1.0))
        ]
        assert rate[0] < 0.7 * rate[1]
        most = genz.serve.capacity.capacity(
            genz.model("llama3_8b"), genz.platform("h100_sxm_1"), wide, LIMITS, engine=genz.engine("vllm_0_24")
        )  # fmt: skip
        assert rate[0] == pytest.approx(float(most.rate))

    def test_arrays_of_lengths_are_no_load(self):
        with pytest.raises(
            InputError, match=r"mean must be one number for a load, got shape \(2,\)"
        ):
            genz.Load.of_workload(genz.Workload.of([100, 200], 10), 1.0)

    def test_names_and_limits_come_from_the_workload(self):
        load = genz.Load.of_workload("genz_chat", 1.0)
        assert load.name == "genz_chat"
        assert load.objective.ttft == genz.workload("genz_chat").objective.ttft

    def test_trace(self):
        load = genz.Load.of_requests(
            [10, 20, 100, 101, 99999], [5, 7, 26, 26, 3000], 10.0, name="t", pool="p"
        )
        assert sorted(load.rate[0]) == [2.0, 2.0, 2.0, 4.0]
        place = int(np.argmax(load.rate[0]))
        assert (load.prompt[place], load.output[place]) == (15.0, 6.0)
        assert load.rate[0] @ load.prompt / 10.0 == pytest.approx(
            np.mean([10, 20, 100, 101, 99999])
        )
        assert (load.name, load.pool) == ("t", "p")
        assert len(PROMPT_EDGES) * len(OUTPUT_EDGES) == 60

    def test_over_time(self):
        load = genz.Load.of(100, 10, [2.0]).over([0.5, 1.0, 0.0])
        assert load.rate.tolist() == [[1.0], [2.0], [0.0]]

    def test_errors(self):
        with pytest.raises(InputError, match="rate must be > 0 1/s in a bucket, got none"):
            genz.Load.of(100, 10, 0.0)
        with pytest.raises(InputError, match="prompt must be >= 1 tokens, got 0"):
            genz.Load.of(0, 10, 1.0)
        with pytest.raises(
            InputError, match=r"arguments must broadcast together, got shapes prompt \(2,\)"
        ):
            genz.Load.of([1, 2], [1, 2, 3], 1.0)
        with pytest.raises(
            InputError, match=r"two lists of one length, got shapes \(2,\) and \(1,\)"
        ):
            genz.Load.of_requests([1, 2], [1], 1.0)
        with pytest.raises(InputError, match="prompt_edges must increase, got 5 at index"):
            genz.Load.of_requests([1], [1], 1.0, prompt_edges=(10, 5))
        with pytest.raises(
            InputError, match="factor must be one list, not all 0, for a load of one period"
        ):
            genz.Load.of(1, 1, 1.0).over([1.0, 2.0]).over([1.0])
        with pytest.raises(UnknownNameError, match="no workload named 'none_such'"):
            genz.Load.of_workload("none_such", 1.0)


def small(rate=20.0, **options):
    load = genz.Load.of([[100], [2000]], [50, 400], rate * np.array([[0.4, 0.3], [0.2, 0.1]]))
    given = {"model": "llama2_7b", "objective": LIMITS, "parallel": genz.Parallel()} | options
    return genz.fleet(load, SMALL, **given)


class TestPredicted:
    def test_throughput_is_the_capacity_of_each_platform(self):
        """The array of buckets and platforms against calls for one of each."""
        from genz.serve.capacity import capacity

        found = small(engine="vllm_0_15")
        for j, name in enumerate(SMALL):
            for i in range(4):
                one = capacity(
                    genz.model("llama2_7b"), genz.platform(name),
                    genz.Workload.of(found.loads[0].prompt[i], found.loads[0].output[i]), LIMITS,
                    engine=genz.engine("vllm_0_15"), precision="fp16",
                )  # fmt: skip
                assert found.columns.rate[i, j] == pytest.approx(one.rate, rel=1e-9)

    def test_it_is_a_measured_table_once_known(self):
        own = small()
        again = genz.fleet(own.loads[0], SMALL, throughput=own.columns.rate)
        assert again.cost == pytest.approx(own.cost)

    def test_layouts_and_formats_are_kinds(self):
        load = genz.Load.of(1000, 200, 5.0)
        found = genz.fleet(
            load, ["h100_sxm_8"], model="llama3_1_8b", objective=LIMITS,
            parallel=[genz.Parallel(), genz.Parallel(tensor=2)], precision=["bf16", "w8a8"],
        )  # fmt: skip
        kinds = {(o.layout, o.precision, o.n_accelerator) for o in found.columns.options}
        assert kinds == {
            (t, p, n) for t, n in (("TP1", 1), ("TP2", 2)) for p in ("bf16", "fp8/fp8/bf16")
        }
        price = genz.platform("h100_sxm_8").price
        assert found.problem.price.tolist() == pytest.approx([price, 2 * price] * 2)
        table = found.to_frame()
        assert table.price.unique().tolist() == [price]
        assert table.cost.tolist() == pytest.approx((table.n_accelerator * price).tolist())

    def test_all_layouts_by_default_and_caps_count_accelerators(self):
        load = genz.Load.of(1000, 200, 1.0)
        found = genz.fleet(
            load, ["h100_sxm_8"], model="llama3_70b", objective=LIMITS, cap={"h100_sxm_8": 8}
        )
        (n,) = set(found.to_frame().n_accelerator)
        assert 2 <= n <= 8
        assert len(found.columns.options) > 5
        tight = genz.fleet(
            load, ["h100_sxm_8"], model="llama3_70b", objective=LIMITS, cap={"h100_sxm_8": 1}
        )
        assert tight.infeasible.constraints == ("rate of load", "cap of 1 on h100_sxm_8")

    def test_two_models_and_two_classes_of_one_model(self):
        sizes = {"prompt": 1000, "output": 200, "rate": 4.0}
        loads = [
            genz.Load.of(
                **sizes, name="chat", model="llama3_1_8b", objective=genz.Objective(tpot=0.03)
            ),
            genz.Load.of(**sizes, name="batch", model="llama3_1_8b"),
            genz.Load.of(**sizes, name="large", model="llama3_70b"),
        ]
        found = genz.fleet(loads, ["h100_sxm_8"], objective=genz.Objective(tpot=0.2))
        pools = set(found.to_frame().pool)
        assert pools == {"chat", "batch", "large"}
        each = sum(
            genz.fleet(one, ["h100_sxm_8"], objective=goal).cost
            for one, goal in zip(
                loads, (None, genz.Objective(tpot=0.2), genz.Objective(tpot=0.2)), strict=True
            )
        )
        assert found.cost == pytest.approx(each)  # pools share nothing without a cap

    def test_limits_of_a_load_are_its_own_or_those_of_the_fleet(self):
        """What would be passed over is refused; a workload's rate is not that of its requests here."""
        goal = genz.Objective(rate=7.0, ttft=0.2, tpot=0.01)
        load = genz.Load.of_workload(genz.Workload.of(1000, 200, objective=goal), 4.0)
        assert (load.objective.rate, load.objective.tpot) == (None, 0.01)
        with pytest.raises(InputError) as caught:
            genz.fleet(load, ["h100_sxm_8"], model="llama3_1_8b", objective=LIMITS)
        assert (
            str(caught.value)
            == "objective is for loads that name none, got it though each names its own"
        )
        named = genz.Load.of(1000, 200, 4.0, model="llama3_1_8b")
        with pytest.raises(InputError, match="model is for loads that name none, got it though"):
            genz.fleet(named, ["h100_sxm_8"], model="llama3_1_8b", objective=LIMITS)

    @pytest.mark.parametrize(
        ("field", "text"),
        [
            ({"rate": 5.0}, "objective.rate is not for a fleet, whose rates are those of its loads, got 5.0"),
            ({"rate": [5.0, 6.0]}, r"objective.rate is not for a fleet, whose rates are those of its loads, got array"),
            ({"percentile": 0.9}, "objective.percentile is not for a fleet, whose limits are on mean times: genz.size takes it, got 0.9"),
            ({"tpot_percentile": 0.9}, "objective.tpot_percentile is not for a fleet"),
            ({"attainment": 0.9}, "objective.attainment is not for a fleet"),
            ({"power": 1e3}, "objective.power is not for a fleet"),
            ({"rank": "energy"}, "objective.rank is not for a fleet"),
            ({"budget": 5.0}, "budget of a fleet is a keyword of its own, got it in the objective, 5.0"),
        ],
    )  # fmt: skip
    def test_what_a_fleet_does_not_keep_is_refused(self, field, text):
        load = genz.Load.of(1000, 200, 4.0, objective=genz.Objective(tpot=0.05, **field))
        with pytest.raises(InputError, match=text):
            genz.fleet(load, ["h100_sxm_8"], model="llama3_1_8b")

    def test_means_may_be_said(self):
        load = genz.Load.of(1000, 200, 4.0)
        found = [
            genz.fleet(load, ["h100_sxm_8"], model="llama3_1_8b", objective=goal).cost
            for goal in (LIMITS, LIMITS.replace(percentile="mean"))
        ]
        assert found[0] == found[1]

    def test_what_no_platform_serves_has_its_reason(self):
        load = genz.Load.of([1000, 60000], [200, 100], [1.0, 0.1])
        found = genz.fleet(
            load,
            ["l4_1"],
            model="llama2_7b",
            objective=genz.Objective(tpot=0.2),
            parallel=genz.Parallel(),
        )
        (bucket,) = found.infeasible.unserved
        assert (bucket.prompt, bucket.reasons) == (60000.0, {"l4_1": "memory"})
        assert found.explain().endswith("(l4_1: not one request fits into memory).")
        slow = small(objective=genz.Objective(tpot=1e-4))
        assert set(slow.infeasible.unserved[0].reasons.values()) == {"tpot"}

    def test_platforms_without_the_format_are_left_out(self):
        found = genz.fleet(
            genz.Load.of(100, 100, 1.0), ["a100_sxm_1", "h100_sxm_1"], model="llama3_1_8b",
            objective=LIMITS, precision="fp8",
        )  # fmt: skip
        assert list(found.columns.skipped) == ["a100_sxm_1 fp8"]
        assert "fp8" in found.columns.skipped["a100_sxm_1 fp8"]

    @pytest.mark.parametrize(
        "layout", [genz.Parallel(tensor=2), genz.Parallel(pipeline=4), genz.Parallel()]
    )
    def test_accelerators_are_counted_in_words(self, layout):
        """A replica of PP4 is four of them, whatever the name of the platform says."""
        found = genz.fleet(
            genz.Load.of(1000, 500, 40.0), ["h100_sxm_8"], model="llama3_1_8b", objective=LIMITS,
            parallel=layout,
        )  # fmt: skip
        n = int(found.count.sum())
        many = f"{n * layout.size} accelerator{'s' if n * layout.size > 1 else ''} of h100_sxm_8"
        assert f"{many} as {n} x {layout.label}: " in found.explain()
        assert f"One platform alone: {many} for {found.cost:,.2f} (the same)" in found.explain()
        assert found.single.n_accelerator.tolist() == [n * layout.size]

    def test_the_answer_in_words_and_data(self):
        found = small(cap={"l4_1": 1})
        text = found.explain()
        assert "Proven: no fleet costs less than" in text
        assert "One platform alone: " in text
        data = found.to_dict()
        assert data["cost"] == pytest.approx(sum(row["cost"] for row in data["fleet"]))
        assert sum(row["rate"] for row in data["routing"]) == pytest.approx(20.0)
        assert found.routing.attrs["units"]["throughput"] == "1/s"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"objective": {"tpot": 0.1}}, "objective must be an Objective, got {'tpot': 0.1}"),
        (
            {"objective": genz.Objective(tpot=0.1, budget=0.5)},
            "budget of a fleet is a keyword of its own, got it in the",
        ),
        (
            {"objective": genz.Objective(tpot=0.1, power=5.0)},
            "objective.power is not for a fleet, whose limits are on mean",
        ),
        (
            {"objective": genz.Objective(tpot=0.1, rank="energy")},
            "objective.rank is not for a fleet",
        ),
        (
            {"objective": genz.Objective(tpot=0.1, percentile=0.99)},
            "objective.percentile is not for a fleet",
        ),
        (
            {"objective": genz.Objective(tpot=0.1, ttft_percentile=0.5)},
            "objective.ttft_percentile is not for a fleet",
        ),
        (
            {"objective": genz.Objective(tpot=0.1, attainment=0.9)},
            "objective.attainment is not for a fleet",
        ),
        ({"prices": 3}, "prices must be a mapping of platforms to numbers, got 3"),
        ({"cap": 3}, "cap must be a mapping of platforms to numbers, got 3"),
        ({"minimum": 3}, "minimum must be a mapping of platforms to numbers, got 3"),
        (
            {"parallel": 8},
            "parallel must be a Parallel of one layout, or a sequence of them, got 8",
        ),
    ],
)
def test_what_a_fleet_would_pass_over_is_refused(changes, text):
    asked = {
        "model": "llama3_8b",
        "objective": genz.Objective(tpot=0.1, percentile="mean"),
    } | changes
    with pytest.raises(genz.InputError, match=text):
        genz.fleet(genz.Load.of(100, 10, 1.0), ["h100_sxm_1"], **asked)
