"""Fleets against the authors' example, brute force, and a second formulation."""

import itertools
from dataclasses import replace
from math import ceil, inf

import numpy as np
import pandas as pd
import pulp
import pytest
from scipy.optimize import linprog

import genz
from genz.core.errors import InfeasibleError, InputError, UnknownNameError
from genz.solve.fleet.greedy import greedy, least_cost
from genz.solve.fleet.reduce import dominated, merged

#: Mélange, README of its repository: two GPUs, four sizes of requests.
PRICES = {"A10G": 1.01, "A100": 3.67}
RATES = [[2, 20], [1, 20], [5, 40], [2, 20]]
SHARES = np.array([[0.2, 0.1], [0.5, 0.2]])


def example(rate=30.0, **options):
    load = genz.Load.of([[200], [2000]], [100, 500], rate * SHARES)
    return genz.fleet(load, list(PRICES), throughput=RATES, prices=PRICES, **options)


def sizes(n, rate=1.0, **fields):
    """A load of n buckets."""
    return genz.Load.of(np.arange(1, n + 1), 10, rate, **fields)


@pytest.mark.paper
class TestMelange:
    @pytest.mark.parametrize(
        ("slices", "cost", "counts"),
        [(1, 6.70, (3, 1)), *((s, 5.69, (2, 1)) for s in (2, 4, 8, 16)), (None, 4.68, (1, 1))],
    )
    def test_cost_of_the_example(self, slices, cost, counts):
        found = example(slice_factor=slices)
        assert found.cost == pytest.approx(cost, abs=1e-9)
        assert found.counts == dict(zip(PRICES, counts, strict=True))
        assert found.certificate.status == "optimal"
        assert found.certificate.gap <= 1e-6

    @pytest.mark.parametrize(("rate", "cost"), [(30, 4.68), (60, 9.36), (300, 42.39)])
    def test_cost_grows_in_steps(self, rate, cost):
        assert example(rate).cost == pytest.approx(cost, abs=1e-9)

    def test_bound_without_whole_replicas(self):
        """By hand: the A10G serves the third bucket at 15/5*1.01, the A100 the others for 15/20*3.67... or less."""
        assert least_cost(example().problem) == pytest.approx(4.1288, abs=5e-5)


def brute_force(demand, rate, price, slices=None, cap=None, most=6):
    """Enumerate counts; whether they carry the load is a linear programme, or an enumeration of slices."""
    n_kind = len(price)
    best = inf
    for count in itertools.product(range(most + 1), repeat=n_kind):
        cost = float(np.dot(count, price))
        if cost >= best - 1e-9 or (cap is not None and np.any(np.array(count) > cap)):
            continue
        if carried(demand, rate, np.array(count), slices):
            best = cost
    return best


def carried(demand, rate, count, slices):
    n_row, n_kind = rate.shape
    with np.errstate(divide="ignore"):
        load = np.where(rate > 0, demand[:, None] / rate, inf)
    if slices is None:
        # the least stretch of all counts that carries everything: one number decides
        n_y = n_row * n_kind
        upper = np.zeros((n_kind, n_y + 1))
        for j in range(n_kind):
            upper[j, j:n_y:n_kind] = np.where(np.isfinite(load[:, j]), load[:, j], 0.0)
            upper[j, n_y] = -1.0
        equal = np.zeros((n_row, n_y + 1))
        for i in range(n_row):
            equal[i, i * n_kind : (i + 1) * n_kind] = 1.0
        bounds = [(0, 1 if np.isfinite(v) else 0) for v in load.ravel()] + [(0, None)]
        goal = np.r_[np.zeros(n_y), 1.0]
        found = linprog(
            goal, A_ub=upper, b_ub=count, A_eq=equal, b_eq=np.ones(n_row), bounds=bounds
        )
        return found.status == 0 and found.fun <= 1e-7
    parts = [
        [p for p in itertools.product(range(slices + 1), repeat=n_kind) if sum(p) == slices]
        for _ in range(n_row)
    ]
    for choice in itertools.product(*parts):
        used = np.array(choice) / slices
        if np.isinf(load[used > 0]).any():
            continue
        total = np.where(used > 0, used * np.where(np.isfinite(load), load, 0.0), 0.0).sum(axis=0)
        if np.all(total <= count + 1e-9):
            return True
    return False


def draw(seed, n_row, n_kind):
    rng = np.random.default_rng(seed)
    rate = np.round(rng.uniform(0.5, 5.0, (n_row, n_kind)), 2)
    rate[rng.random(rate.shape) < 0.2] = 0.0
    rate[:, 0] = np.maximum(rate[:, 0], 0.5)  # everything can be served somewhere
    return np.round(rng.uniform(0.2, 2.0, n_row), 2), rate, np.round(rng.uniform(1, 5, n_kind), 2)


def solved(demand, rate, price, **options):
    names = [f"p{j}" for j in range(len(price))]
    load = sizes(len(demand), demand)
    prices = dict(zip(names, price, strict=True))
    return genz.fleet(load, names, throughput=rate, prices=prices, **options)


def used_by(problem, share):
    """Replicas in use, from the definition."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one = share * problem.demand[:, :, None] / problem.rate / problem.usable
    return np.where(share > 0, one, 0.0).sum(axis=1)


def check_plan(found):
    """The plan carries the load, and the proof is consistent."""
    problem, plan = found.problem, found.plan
    asked = problem.demand > 0
    assert plan.share.sum(axis=2)[asked] == pytest.approx(1.0)
    assert (plan.share >= 0).all()
    assert (used_by(problem, plan.share) <= plan.count * (1 + 1e-6) + 1e-6).all()
    proof = found.certificate
    assert proof.bound <= proof.value + 1e-9
    assert proof.value == pytest.approx(found.cost)
    assert found.cost >= least_cost(problem) * (1 - 1e-9)
    assert found.cost <= found.single.cost.min() * (1 + 1e-9)


class TestBruteForce:
    @pytest.mark.parametrize("block", range(10))
    def test_any_shares(self, block):
        for seed in range(20 * block, 20 * block + 20):
            case = draw(seed, 4, 3)
            found = solved(*case)
            check_plan(found)
            assert found.certificate.gap <= 1e-6
            assert found.cost == pytest.approx(brute_force(*case), rel=1e-6), seed

    @pytest.mark.parametrize("block", range(5))
    def test_slices(self, block):
        for seed in range(20 * block, 20 * block + 20):
            slices = 1 + seed % 3
            case = draw(1000 + seed, 3, 2)
            found = solved(*case, slice_factor=slices)
            check_plan(found)
            assert found.cost == pytest.approx(brute_force(*case, slices=slices), rel=1e-6), seed
            whole = np.round(found.plan.share * slices)
            assert found.plan.share * slices == pytest.approx(whole, abs=1e-6)

    @pytest.mark.parametrize("block", range(5))
    def test_caps(self, block):
        for seed in range(20 * block, 20 * block + 20):
            case = draw(2000 + seed, 3, 3)
            cap = np.random.default_rng(seed).integers(0, 3, 3)
            found = solved(*case, cap={f"p{j}": c for j, c in enumerate(cap)})
            best = brute_force(*case, cap=cap)
            assert found.cost == pytest.approx(best, rel=1e-6), seed
            assert (found.infeasible is not None) == np.isinf(best)
            for row in found.shadow.itertuples():
                eased = cap.copy()
                eased[int(row.platform[1])] += 1
                assert row.cost == pytest.approx(brute_force(*case, cap=eased), rel=1e-6), seed

    @pytest.mark.parametrize("block", range(4))
    def test_counts_that_change(self, block):
        """Two periods, two kinds: enumerate all pairs of counts."""
        for seed in range(10 * block, 10 * block + 10):
            _, rate, price = draw(3000 + seed, 2, 2)
            rng = np.random.default_rng(seed)
            demand, start = np.round(rng.uniform(0.2, 3.0, (2, 2)), 2), round(rng.uniform(0, 3), 2)
            load = replace(sizes(2), rate=demand)
            found = genz.fleet(
                load, ["a", "b"], throughput=rate, prices=dict(zip("ab", price, strict=True)),
                duration=[6.0, 2.0], start_cost=start,
            )  # fmt: skip
            counts = list(itertools.product(range(7), repeat=2))
            able = [[n for n in counts if carried(d, rate, np.array(n), None)] for d in demand]
            best = min(
                (6 * np.dot(m, price) + 2 * np.dot(n, price)) / 8
                + start * (np.maximum(np.subtract(m, n), 0).sum() + np.maximum(np.subtract(n, m), 0).sum()) / 8
                for m in able[0]
                for n in able[1]
            )  # fmt: skip
            assert found.cost == pytest.approx(best, rel=1e-6), seed
            assert found.count.shape == (2, 2)


class TestOrder:
    @pytest.mark.parametrize("seed", range(20))
    def test_shares_never_cost_more_than_slices(self, seed):
        case = draw(4000 + seed, 5, 3)
        free = solved(*case).cost
        fine = solved(*case, slice_factor=4).cost
        coarse = solved(*case, slice_factor=2).cost
        assert free <= fine * (1 + 1e-9)
        assert fine <= coarse * (1 + 1e-9)

    @pytest.mark.parametrize("seed", range(20))
    def test_greedy_is_a_fleet_and_never_better(self, seed):
        case = draw(5000 + seed, 6, 4)
        found = solved(*case, cap={"p1": 1.0})
        start = greedy(found.problem)
        assert found.problem.allows(start.count)
        assert (used_by(found.problem, start.share) <= start.count + 1e-9).all()
        assert start.share.sum(axis=2) == pytest.approx(1.0)
        assert found.cost <= start.certificate.value * (1 + 1e-9)

    def test_headroom_is_a_larger_load(self):
        spare = example(headroom=0.25)
        assert spare.cost == example(40.0).cost
        assert (spare.to_frame().used <= 0.75 + 1e-9).all()

    def test_one_count_for_all_periods_serves_the_busiest(self):
        load = genz.Load.of([200, 2000], 100, [6.0, 15.0]).over([0.5, 2.0, 1.0])
        table = [[2, 20], [5, 40]]
        found = genz.fleet(load, list(PRICES), throughput=table, prices=PRICES)
        peak = genz.Load.of([200, 2000], 100, [12.0, 30.0])
        assert found.cost == genz.fleet(peak, list(PRICES), throughput=table, prices=PRICES).cost
        assert set(found.routing.period) == {0, 1, 2}

    def test_free_starts_are_the_mean_of_the_periods(self):
        load = genz.Load.of([200, 2000], 100, [6.0, 15.0])
        table = [[2, 20], [5, 40]]
        given = {"throughput": table, "prices": PRICES}
        each = [genz.fleet(load.over([f]), list(PRICES), **given).cost for f in (0.5, 4.0)]
        both = genz.fleet(
            load.over([0.5, 4.0]), list(PRICES), **given, start_cost=0.0, duration=[16.0, 8.0]
        )
        assert both.cost == pytest.approx((16 * each[0] + 8 * each[1]) / 24)

    def test_dear_starts_are_one_count_for_all(self):
        load = genz.Load.of([200, 2000], 100, [6.0, 15.0]).over([0.5, 4.0])
        given = {"throughput": [[2, 20], [5, 40]], "prices": PRICES}
        fixed = genz.fleet(load, list(PRICES), **given)
        dear = genz.fleet(load, list(PRICES), **given, start_cost=1e4)
        assert dear.cost == pytest.approx(fixed.cost)
        named = genz.fleet(load, list(PRICES), **given, start_cost={"A10G": 1e4, "A100": 1e4})
        assert named.cost == dear.cost


class TestSeveral:
    def test_pools_share_nothing_but_the_cap(self):
        """Two services of 0.6 replicas each: one replica for both, or one each."""
        frame = pd.DataFrame(
            {"load": ["x", "y"], "prompt": [1, 1], "output": [10, 10], "a": [1.0, 1.0], "b": [1.0, 1.0]}
        )  # fmt: skip
        own = [sizes(1, 0.6, name="x"), sizes(1, 0.6, name="y")]
        same = [sizes(1, 0.6, name="x", pool="z"), sizes(1, 0.4, name="y", pool="z")]
        given = {"throughput": frame, "prices": {"a": 1.0, "b": 1.5}}
        assert genz.fleet(own, **given).counts == {"a for x": 1, "a for y": 1}
        assert genz.fleet(same, **given).counts == {"a": 1}
        tight = genz.fleet(own, **given, cap={"a": 1.0})
        assert tight.cost == pytest.approx(2.5)
        (row,) = tight.shadow.itertuples()
        assert tight.cost - row.cost == pytest.approx(0.5)

    def test_minimum_is_kept_and_has_a_price(self):
        found = example(minimum={"A10G": 3})
        assert found.counts["A10G"] == 3
        (row,) = found.shadow.itertuples()
        assert (row.constraint, row.limit, row.step) == ("minimum", 3.0, 1.0)
        assert found.cost - row.cost == pytest.approx(1.01)

    def test_one_platform_alone_keeps_no_minimum_of_others(self):
        """Two A100 serve the example for 7.34; four A10G must be rented all the same."""
        found = example(minimum={"A10G": 4})
        assert found.cost == pytest.approx(4 * 1.01 + 3.67)
        assert f"for 7.34 ({found.cost - 7.34:.2f} less, without the minimum of" in found.explain()

    def test_layout_of_a_measured_replica_counts_its_accelerators(self):
        found = example(parallel=genz.Parallel(tensor=2))
        assert found.cost == pytest.approx(2 * 4.68)
        assert set(found.to_frame().n_accelerator) == {2}

    def test_frames_wide_and_long_are_the_array(self):
        load = genz.Load.of([[200], [2000]], [100, 500], 30 * SHARES)
        wide = pd.DataFrame(RATES, columns=["A10G", "A100"])
        wide.insert(0, "output", load.output)
        wide.insert(0, "prompt", load.prompt)
        long = wide.melt(["prompt", "output"], var_name="platform", value_name="throughput")
        for table in (wide.iloc[::-1], long.sample(frac=1, random_state=1)):
            found = genz.fleet(load, throughput=table, prices=PRICES)
            assert found.cost == pytest.approx(4.68)


class TestReduction:
    def test_merging_changes_nothing(self):
        """Each bucket three times, at thrice the speed: the optimum is that of one."""
        demand, rate, price = draw(7, 4, 3)
        tripled = solved(np.tile(demand, 3), np.vstack([rate, 3 * rate, 0.5 * rate]), price)
        small, place = merged(tripled.problem)
        assert len(small.rate) == 4
        assert place.tolist() == place[:4].tolist() * 3
        single = solved(demand * (1 + 1 / 3 + 2), rate, price)
        assert tripled.cost == pytest.approx(single.cost)
        check_plan(tripled)

    def test_a_kind_that_two_others_replace_is_left_out(self):
        """Two of the first cost as much as the second, and serve more."""
        found = solved(np.array([1.0]), np.array([[2.0, 3.5]]), np.array([1.0, 2.0]))
        assert dominated(found.problem).tolist() == [False, True]
        capped = solved(
            np.array([1.0]), np.array([[2.0, 3.5]]), np.array([1.0, 2.0]), cap={"p0": 1}
        )
        assert not dominated(capped.problem).any()
        forced = solved(
            np.array([1.0]), np.array([[2.0, 3.5]]), np.array([1.0, 2.0]), minimum={"p1": 1}
        )
        assert not dominated(forced.problem).any()
        assert forced.counts == {"p1": 1}

    def test_equal_kinds_leave_one(self):
        found = solved(np.array([1.0]), np.array([[2.0, 2.0]]), np.array([1.0, 1.0]))
        assert np.count_nonzero(dominated(found.problem)) == 1


class TestSingle:
    def test_each_platform_alone(self):
        found = example(300.0)
        by_hand = [
            ceil(60 / 2 + 30 / 1 + 150 / 5 + 60 / 2),
            ceil(60 / 20 + 30 / 20 + 150 / 40 + 60 / 20),
        ]
        assert found.single.n_replica.tolist() == by_hand
        assert found.single.cost.tolist() == pytest.approx([120 * 1.01, 12 * 3.67])
        assert "120 x A10G for 121.20 (the mix saves 65.0 %)" in found.explain()

    def test_what_cannot_serve_everything_says_so(self):
        table = [[0, 20], *RATES[1:]]
        load = genz.Load.of([[200], [2000]], [100, 500], 30 * SHARES)
        found = genz.fleet(load, list(PRICES), throughput=table, prices=PRICES, cap={"A100": 1.0})
        alone = found.single.set_index("platform")
        assert alone.cost["A10G"] == inf
        assert alone.reason["A10G"] == "cannot serve 1 of 4 sizes: measured as 0"
        assert alone.reason["A100"] == "more than its cap"
        assert "A10G: cannot serve 1 of 4 sizes: measured as 0" in found.explain()


class TestInfeasible:
    def test_a_bucket_that_nothing_serves(self):
        table = [[0, 0], *RATES[1:]]
        load = genz.Load.of([[200], [2000]], [100, 500], 30 * SHARES)
        found = genz.fleet(load, list(PRICES), throughput=table, prices=PRICES)
        assert found.infeasible.constraints == ("prompt 200, output 100 of load",)
        assert found.infeasible.smallest
        assert found.cost == inf
        assert found.to_dict()["infeasible"]["unserved"][0]["reasons"] == {
            "A10G": "measured as 0", "A100": "measured as 0",
        }  # fmt: skip
        with pytest.raises(
            InfeasibleError, match="no platform serves prompt 200, output 100 of load"
        ):
            _ = found.counts

    def test_caps_and_rate(self):
        found = example(
            cap={
                "A10G": 1,
                "A100": 0,
            }
        )
        assert found.infeasible.constraints == (
            "rate of load",
            "cap of 1 on A10G",
            "cap of 0 on A100",
        )
        assert found.infeasible.smallest
        assert found.explain() == (
            "No fleet: rate of load, cap of 1 on A10G and cap of 0 on A100 cannot all hold "
            "(no smaller set conflicts)."
        )

    def test_budget_and_rate(self):
        found = example(budget=4.0, cap={"A10G": 100})
        assert found.infeasible.constraints == ("rate of load", "budget of 4 per hour")
        assert example(budget=4.68).cost == pytest.approx(4.68)

    def test_minimum_and_cap(self):
        found = example(minimum={"A100": 3}, cap={"A100": 2})
        assert found.infeasible.constraints == ("cap of 2 on A100", "at least 3 of A100")

    def test_only_the_load_that_is_too_much(self):
        frame = pd.DataFrame(
            {"load": ["x", "y"], "prompt": [1, 1], "output": [10, 10], "a": [1.0, 1.0]}
        )
        found = genz.fleet(
            [sizes(1, 5.0, name="x"), sizes(1, 0.5, name="y")], throughput=frame, prices={"a": 1.0}, cap={"a": 3},
        )  # fmt: skip
        assert found.infeasible.constraints == ("rate of x", "cap of 3 on a")


class TestStopped:
    def test_without_a_solver_there_is_a_plan_and_a_bound(self, monkeypatch):
        best = example(300.0).cost
        monkeypatch.setattr(pulp.HiGHS, "available", lambda _: False)
        found = example(300.0)
        assert found.certificate.status == "feasible"
        assert "highspy is missing" in found.certificate.reason
        assert found.certificate.bound <= best <= found.cost
        assert found.certificate.bound == pytest.approx(41.288, abs=1e-3)
        check_plan(found)
        assert "Not proven the best (no solver" in found.explain()

    def test_time_limit_keeps_a_plan_and_its_gap(self):
        rng = np.random.default_rng(1)
        price = rng.uniform(0.5, 10.0, 20)
        rate = price * np.exp(rng.normal(0, 0.5, (300, 20)))
        found = solved(rng.uniform(0, 0.05, 300), rate, price, time_limit=0.05)
        assert found.certificate.status == "feasible"
        assert found.certificate.reason == "time limit"
        assert 0 < found.certificate.gap < 1
        check_plan(found)

    def test_all_searches_together_keep_the_time(self):
        """Caps on all kinds: the fleets around the answer take their share of the time, not a multiple."""
        rng = np.random.default_rng(2)
        price = rng.uniform(0.5, 10.0, 12)
        rate = price * np.exp(rng.normal(0, 0.5, (200, 12)))
        cap = {f"p{j}": 3 for j in range(12)}
        found = solved(rng.uniform(0, 0.05, 200), rate, price, cap=cap, time_limit=0.5)
        assert found.found
        assert len(found.shadow) == 12
        check_plan(found)

    def test_nothing_found_and_nothing_ruled_out(self, monkeypatch):
        monkeypatch.setattr(pulp.HiGHS, "available", lambda _: False)
        found = example(budget=4.68)  # greedy finds but dearer fleets
        assert not found.found
        assert found.infeasible is None
        assert found.explain().startswith("No fleet was found, and none is ruled out: no solver")


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"cap": {"A10G": -1}}, "cap of A10G must be >= 0, got -1"),
            ({"minimum": {"A10G": 1.5}}, "minimum of A10G must be a whole number >= 0, got 1.5"),
            ({"headroom": 1.0}, r"headroom must be in \[0, 1\), got 1"),
            ({"slice_factor": 0}, "slice_factor must be a whole number >= 1, got 0"),
            ({"budget": 0.0}, "budget must be > 0 currency/h, got 0"),
            ({"duration": [1.0, 2.0]}, r"duration must have one value, or one for each of 1 periods, got shape \(2,\)"),
            ({"start_cost": -1.0}, "start_cost must be >= 0 currency, got -1"),
            ({"time_limit": 0.0}, "time_limit must be > 0 s, got 0"),
            ({"gap": 2.0}, r"gap must be in \[0, 1\], got 2"),
            ({"engine": "ideal"}, "engine is for predicted throughput, got it together with a measured one"),
            ({"efficiency": "ideal"}, "efficiency is for predicted throughput"),
            ({"parallel": [genz.Parallel()]}, "parallel must be the layout of the measured replicas"),
        ],
    )  # fmt: skip
    def test_options(self, options, text):
        with pytest.raises(InputError, match=text):
            example(**options)

    def test_names(self):
        with pytest.raises(UnknownNameError, match="no platform among the candidates named 'H100'"):
            example(cap={"H100": 1})
        load = genz.Load.of([[200], [2000]], [100, 500], 30 * SHARES)
        given = {"throughput": RATES}
        with pytest.raises(
            InputError, match="prices must name A100, which has no price of its own"
        ):
            genz.fleet(load, ["A10G", "A100"], **given, prices={"A10G": 1.0})
        with pytest.raises(UnknownNameError, match="no platform among the candidates named 'L4'"):
            genz.fleet(load, ["A10G", "A100"], **given, prices=PRICES | {"L4": 1.0})
        with pytest.raises(InputError, match="price of A10G must be > 0, got 0"):
            genz.fleet(load, ["A10G", "A100"], **given, prices={"A10G": 0.0})
        with pytest.raises(InputError, match="platforms must differ, got 'A10G' twice"):
            genz.fleet(load, ["A10G", "A10G"], **given, prices=PRICES)
        with pytest.raises(InputError, match="platforms must name at least one platform, got none"):
            genz.fleet(load, [], **given)
        with pytest.raises(
            InputError, match="platforms must name the columns of throughput, got none"
        ):
            genz.fleet(load, **given)

    def test_tables(self):
        load = sizes(2)
        given = {"prices": {"a": 1.0}}
        with pytest.raises(
            InputError, match=r"throughput must have shape \(2, 1\): buckets, platforms"
        ):
            genz.fleet(load, ["a"], throughput=[[1.0]], **given)
        with pytest.raises(InputError, match="throughput must be >= 0 1/s, got -1"):
            genz.fleet(load, ["a"], throughput=[[1.0], [-1.0]], **given)
        frame = pd.DataFrame({"prompt": [1.0], "output": [10.0], "a": [1.0]})
        with pytest.raises(
            InputError, match="must have a row for each bucket, got none for prompt 2 and output 10"
        ):
            genz.fleet(load, throughput=frame, **given)
        with pytest.raises(InputError, match="throughput must have a column 'output'"):
            genz.fleet(load, ["a"], throughput=frame.drop(columns="output"), **given)
        with pytest.raises(InputError, match="throughput must have a column 'load'"):
            genz.fleet([sizes(1, name="x"), sizes(1, name="y")], ["a"], throughput=frame, **given)

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ({"a": [1.0, np.inf]}, r"throughput must be >= 0 1/s, got inf at index \(1, 0\)"),
            ({"a": [1.0, "many"]}, "throughput must hold numbers in a: .*'many'"),
            ({"prompt": [1.0, 1.0]}, "throughput must have one row for each bucket, got two for prompt 1.0, output 10"),
            ({"platform": "a", "throughput": 1.0, "prompt": 2.0}, "got two for prompt 2.0, output 10.0, platform a"),
        ],
    )  # fmt: skip
    def test_tables_that_say_nothing_or_two_things_of_a_bucket(self, rows, message):
        frame = pd.DataFrame({"prompt": [1.0, 2.0], "output": [10.0, 10.0], "a": 1.0} | rows)
        with pytest.raises(InputError, match=message):
            genz.fleet(sizes(2), ["a"], throughput=frame, prices={"a": 1.0})

    def test_of_a_table_of_several_loads_the_own_rows_count(self):
        frame = pd.DataFrame({"load": ["x", "y"], "prompt": 1.0, "output": 10.0, "a": [1.0, 5.0]})
        given = {"throughput": frame, "prices": {"a": 1.0}}
        found = [genz.fleet(sizes(1, 4.9, name=name), **given).counts["a"] for name in "xy"]
        assert found == [5, 1]

    def test_loads(self):
        with pytest.raises(InputError, match="load must be a Load or a sequence of them, got 3"):
            genz.fleet([3], ["a"])
        for other in ("llama3_8b", 3):
            with pytest.raises(InputError, match=f"load must be a Load .*, got {other!r}"):
                genz.fleet(other, ["a"])
        with pytest.raises(InputError, match="names that differ, got load, load"):
            genz.fleet([sizes(1), sizes(1)], ["a"])
        with pytest.raises(InputError, match="names that differ, got none"):
            genz.fleet([], ["a"])
        two = [sizes(1, name="x").over([1, 2]), sizes(1, name="y").over([1, 2, 3])]
        with pytest.raises(InputError, match="load must have one number of periods, got 2 and 3"):
            genz.fleet(two, ["a"])
        mixed = [
            sizes(1, name="x", pool="z", model="llama3_8b"), sizes(1, name="y", pool="z", model="llama2_7b"),
        ]  # fmt: skip
        with pytest.raises(InputError, match="loads of pool 'z' must have one model, got x and y"):
            genz.fleet(mixed, ["a"])
        with pytest.raises(
            InputError, match="model must be given where throughput is not, load 'load' names none"
        ):
            genz.fleet(sizes(1), ["h100_sxm_1"])
