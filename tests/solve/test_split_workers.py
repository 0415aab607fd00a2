"""Numbers of prefill and decode workers from given rates: printed cases, brute force, conflicts, statuses."""

import itertools
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from genz.core.errors import InputError
from genz.solve import programme
from genz.solve.disaggregate import Worker, split_workers
from genz.solve.disaggregate.dominance import undominated
from genz.solve.disaggregate.programme import least
from genz.solve.disaggregate.rules import Limits, Rules

PREFILL = Worker("P1", "prefill", 1, 2.071 * 0.9)
DECODE_4 = Worker("D4", "decode", 4, 13.422 * 0.92)
DECODE_2 = Worker("D2", "decode", 2, 4.958 * 0.92)


class TestCounterExample:
    """A public tool takes one shape for all decode workers: 47 accelerators where 45 do."""

    def test_shapes_may_mix(self):
        found = split_workers([PREFILL, DECODE_4, DECODE_2], 50.0)
        assert found.n_accelerator == 45
        assert found.of("prefill") == {PREFILL: 27}
        assert sum(n * w.n_accelerator for w, n in found.of("decode").items()) == 3 * 4 + 3 * 2
        assert found.certificate.status == "optimal"
        assert found.certificate.bound == pytest.approx(45.0, rel=1e-6)
        assert found.certificate.gap <= 1e-6
        # 3 of four and 3 of two carry it as well, 3 of four and 2 of two do not
        assert 3 * DECODE_4.rate + 2 * DECODE_2.rate < 50.0 < 3 * DECODE_4.rate + 3 * DECODE_2.rate

    def test_equal_workers_cost_two_more(self):
        found = split_workers([PREFILL, DECODE_4, DECODE_2], 50.0, equal=("decode",))
        assert found.n_accelerator == 47
        assert found.of("decode") == {DECODE_4: 5}
        assert found.saved == {"equal decode": 2.0}
        assert (
            "Without the rule that all decode workers are equal it would be 2 accelerators less"
            in found.explain()
        )


@pytest.mark.paper
def test_distserve_two_prefill_to_one_decode():
    # DistServe, figure 1: 1.6 req/s colocated, 5.6 in a prefill, 10 in a decode instance of one GPU
    workers = [Worker("P", "prefill", 1, 5.6), Worker("D", "decode", 1, 10.0)]
    found = split_workers(workers, 10.0)
    assert {w.name: n for w, n in found.counts.items()} == {"P": 2, "D": 1}
    per_gpu = min(found.capacity(p) for p in ("prefill", "decode")) / found.n_accelerator
    assert round(per_gpu, 1) == 3.3
    assert round(per_gpu / 1.6, 1) == 2.1
    assert found.ratio == 2.0


def enumerated(workers, rate, value, rules):
    """Least value over all counts; infinite if none will do."""
    need = rate / (1.0 - rules.headroom)
    per_phase = []
    for phase in ("prefill", "decode"):
        some = [w for w in workers if w.phase == phase]
        most = [0 if w.rate == 0 else max(math.ceil(need / w.rate - 1e-9), 1) for w in some]
        options = []
        for counts in itertools.product(*(range(m + 1) for m in most)):
            if phase in rules.equal and sum(n > 0 for n in counts) > 1:
                continue
            if sum(n * w.rate for n, w in zip(counts, some, strict=True)) >= need * (1 - 1e-9):
                options.append(dict(zip(some, counts, strict=True)))
        per_phase.append(options)
    best = math.inf
    for first, second in itertools.product(*per_phase):
        used = first | second
        there = all(
            sum(n * w.n_accelerator for w, n in used.items() if w.platform == name) <= most
            for name, most in rules.available.items()
        )
        sums = {"budget": "cost_per_hour", "power": "power"}
        there = there and all(
            getattr(rules, k) is None
            or sum(n * getattr(w, v) for w, n in used.items()) <= getattr(rules, k) * (1 + 1e-9)
            for k, v in sums.items()
        )
        if there:
            best = min(best, sum(n * value(w) for w, n in used.items()))
    return best


def instance(seed):
    rng = np.random.default_rng(seed)
    workers = []
    for phase in ("prefill", "decode"):
        for i in range(rng.integers(1, 4)):
            size = int(rng.choice([1, 2, 4, 8]))
            rate = float(np.round(size ** rng.uniform(0.7, 1.2) * rng.uniform(0.5, 3.0), 3))
            workers.append(
                Worker(
                    f"{phase}{i}",
                    phase,
                    size,
                    rate * (rng.random() > 0.05),
                    cost_per_hour=float(np.round(size * rng.uniform(1.0, 4.0), 2)),
                    power=float(np.round(size * rng.uniform(300.0, 900.0))),
                    platform=str(rng.choice(["a", "b"])),
                )
            )
    rules = Rules(
        headroom=float(rng.choice([0.0, 0.1, 0.25])),
        available={n: int(rng.integers(4, 40)) for n in ("a", "b") if rng.random() < 0.4},
        equal=tuple(p for p in ("prefill", "decode") if rng.random() < 0.3),
        budget=float(rng.uniform(20.0, 120.0)) if rng.random() < 0.3 else None,
        power=float(rng.uniform(5e3, 3e4)) if rng.random() < 0.3 else None,
    )
    rate, known = float(np.round(rng.uniform(1.0, 12.0), 2)), {w.platform for w in workers}
    there = {name: most for name, most in rules.available.items() if name in known}
    return workers, rate, replace(rules, available=there)


@pytest.mark.parametrize("rank", ["cost", "accelerators", "energy"])
@pytest.mark.parametrize("seed", range(110))
def test_equals_brute_force(seed, rank):
    workers, rate, rules = instance(seed)
    name = {"cost": "cost_per_hour", "accelerators": "n_accelerator", "energy": "power"}[rank]
    best = enumerated(workers, rate, lambda w: getattr(w, name), rules)
    found = split_workers(workers, rate, rank=rank, **asdict(rules))
    if best == math.inf:
        assert found.certificate.status == "infeasible"
        assert not found.counts
        return
    assert found.certificate.status == "optimal"
    assert found.certificate.value == pytest.approx(best, rel=1e-9)
    assert best * (1 - 1e-6) <= found.certificate.bound <= best * (1 + 1e-9)
    total = sum(n * getattr(w, name) for w, n in found.counts.items())
    assert total == pytest.approx(best, rel=1e-9)
    for phase in ("prefill", "decode"):
        assert found.capacity(phase) * (1.0 - rules.headroom) >= rate * (1.0 - 1e-6)
        assert found.slack[phase] >= -1e-6
        assert len(found.of(phase)) == 1 or phase not in rules.equal
    for platform, most in rules.available.items():
        used = sum(n * w.n_accelerator for w, n in found.counts.items() if w.platform == platform)
        assert used <= most
    for constraint, less in found.saved.items():
        assert less > 0.0, constraint


@pytest.mark.parametrize("seed", range(110))
def test_conflicts_are_the_smallest(seed):
    workers, rate, rules = instance(seed)
    found = split_workers(workers, rate, **asdict(rules))
    if found.certificate.status != "infeasible":
        assert found.conflict == ()
        return

    def holds(kept):
        part = Rules(
            headroom=rules.headroom,
            available={k: v for k, v in rules.available.items() if f"available {k}" in kept},
            equal=tuple(p for p in rules.equal if f"equal {p}" in kept),
            budget=rules.budget if "budget" in kept else None,
            power=rules.power if "power" in kept else None,
        )
        asked = rate if "rate" in kept else 1e-9
        return enumerated(workers, asked, lambda w: w.n_accelerator, part) < math.inf

    sets = itertools.chain.from_iterable(
        itertools.combinations(rules.names, n) for n in range(len(rules.names) + 1)
    )
    smallest = next(len(kept) for kept in sets if not holds(kept))
    assert len(found.conflict) == smallest
    assert not holds(found.conflict)


class TestConflicts:
    def test_too_few_accelerators(self):
        worker = [
            Worker("P", "prefill", 1, 1.0, platform="a"),
            Worker("D", "decode", 1, 1.0, platform="b"),
        ]
        rules = Rules(available={"a": 5, "b": 50}, headroom=0.2)
        found = split_workers(worker, 10.0, **asdict(rules))
        assert found.conflict == ("rate", "available a")
        assert found.explain() == (
            "No plan. These cannot all hold: the rate and the availability of a; without one of them, the others can."
        )
        assert found.binding == "rate and available a"
        assert math.isnan(found.ratio)
        assert found.to_dict()["value"] is None

    def test_network_too_thin(self):
        workers = [Worker("P", "prefill", 1, 1.0), Worker("D", "decode", 1, 1.0)]
        found = split_workers(workers, 10.0, moved=1e9, fabric=9e9)
        assert found.conflict == ("rate", "fabric")
        assert "the rate and the limit of the network between them" in found.explain()
        assert split_workers(workers, 9.0, moved=1e9, fabric=9e9).counts

    def test_no_accelerator_at_all(self):
        workers = [Worker("P", "prefill", 1, 1.0, platform="a"), Worker("D", "decode", 1, 1.0)]
        found = split_workers(workers, 10.0, available={"a": 0})
        assert found.conflict == ("available a",)
        assert found.explain() == "No plan. The availability of a alone cannot be met."

    def test_no_worker_can_serve(self):
        found = split_workers([Worker("P", "prefill", 1, 0.0), Worker("D", "decode", 1, 1.0)], 1.0)
        assert found.conflict == ()
        assert found.explain() == "No plan. No worker can serve a phase at all."


def hard(n=40):
    rng = np.random.default_rng(11)
    return [
        Worker(
            f"{phase}{i}",
            phase,
            1,
            float(rng.uniform(1.0, 2.0)),
            cost_per_hour=float(c),
            platform="a",
        )
        for phase in ("prefill", "decode")
        for i, c in enumerate(rng.uniform(1.0, 1.001, n))
    ]


def test_time_is_kept_and_the_bound_holds():
    found = split_workers(hard(), 997.3, rank="cost", time_limit=0.2, gap=0.0)
    proof = found.certificate
    assert proof.status in ("optimal", "feasible", "unknown")
    if found.counts:
        total = sum(n * w.cost_per_hour for w, n in found.counts.items())
        assert proof.value == pytest.approx(total, rel=1e-9)
        assert proof.bound <= proof.value * (1.0 + 1e-9)
        assert proof.gap == pytest.approx((proof.value - proof.bound) / proof.value, abs=1e-12)


def test_missing_solver_is_told(monkeypatch):
    monkeypatch.setattr(programme.pulp.HiGHS, "available", lambda _: False)
    found = split_workers([PREFILL, DECODE_4, DECODE_2], 50.0)
    assert found.certificate.status == "unknown"
    assert found.explain() == (
        "No plan found so far, nor a proof that there is none: no solver: the package highspy is missing."
    )
    assert found.binding == "no solver: the package highspy is missing"


def test_interrupt_keeps_the_plan_so_far(monkeypatch):
    def stopped(problem, **_):
        for variable, value in zip(problem.variables(), (4.0, 3.0), strict=True):
            variable.varValue = value
        return programme.Certificate("feasible", "interrupted", 22.0, 18.0)

    monkeypatch.setattr("genz.solve.disaggregate.programme.solve", stopped)
    found = split_workers([PREFILL, DECODE_4, DECODE_2], 50.0)
    assert found.certificate.status == "feasible"
    assert found.n_accelerator == 27 + 4 * 4 + 3 * 2
    assert found.certificate.gap == pytest.approx(4.0 / 49.0)
    assert "not proven the least (interrupted; at most 8.2 % above the least)" in found.explain()


def test_interrupt_ends_the_search_over_sets(monkeypatch):
    asked = []

    def stopped(problem, **_):
        asked.append(problem)
        for variable in problem.variables():
            variable.varValue = 9.0
        return programme.Certificate("feasible", "interrupted", 54.0, 15.0)

    monkeypatch.setattr("genz.solve.disaggregate.programme.solve", stopped)
    slower = [
        Worker(w.name, w.phase, w.n_accelerator, 0.9 * w.rate)
        for w in (PREFILL, DECODE_4, DECODE_2)
    ]
    sets = [[PREFILL, DECODE_4, DECODE_2], slower]
    found = least(sets, 50.0, "accelerators", Rules(), Limits())
    assert len(asked) == 1
    assert found.certificate.status == "feasible"
    assert found.certificate.reason == "interrupted"
    # of the set that was begun what its solver proved, 27 for prefill included
    assert found.certificate.bound == pytest.approx(42.0)
    assert found.saved == {}


def test_bound_holds_for_all_sets():
    faster = [
        Worker(w.name, w.phase, w.n_accelerator, 1.3 * w.rate)
        for w in (PREFILL, DECODE_4, DECODE_2)
    ]
    alone = [
        split_workers(one, 50.0).certificate.value
        for one in ([PREFILL, DECODE_4, DECODE_2], faster)
    ]
    both = least([[PREFILL, DECODE_4, DECODE_2], faster], 50.0, "accelerators", Rules(), Limits())
    assert both.certificate.value == min(alone)
    assert both.certificate.bound == pytest.approx(min(alone), rel=1e-6)


class TestDominance:
    def test_copies_replace_a_larger_one(self):
        size, rate = np.array([1.0, 2.0, 4.0, 4.0]), np.array([1.0, 1.9, 4.5, 4.4])
        assert undominated(["a"] * 4, rate, [size]).tolist() == [0, 2]
        assert undominated(["a", "b", "b", "b"], rate, [size]).tolist() == [0, 1, 2]

    def test_every_cost_counts(self):
        size, price = np.array([1.0, 2.0]), np.array([3.0, 2.0])
        assert undominated(["a"] * 2, np.array([1.0, 1.0]), [size, price]).tolist() == [0, 1]

    def test_of_equals_one_is_left(self):
        assert len(undominated(["a"] * 3, np.ones(3), [np.ones(3)])) == 1

    def test_what_costs_nothing_replaces_all(self):
        found = undominated(["a"] * 2, np.array([1.0, 50.0]), [np.array([0.0, 4.0])])
        assert found.tolist() == [0]


def test_no_worker_of_no_use_slows_the_search():
    # rates in exact proportion to size: without pruning the search for a bound did not end
    workers = [Worker("P", "prefill", 1, 1.0)] + [
        Worker(f"D{n}", "decode", n, 0.0856880910324 * n * (1.0 + 1e-9 * n)) for n in (3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    ]  # fmt: skip
    found = split_workers(workers, 200.0)
    assert found.certificate.status == "optimal"


def test_frame_and_dictionary():
    found = split_workers([PREFILL, DECODE_4, DECODE_2], 50.0)
    frame = found.to_frame()
    assert frame["n_accelerator"].sum() == 45
    assert set(frame.attrs["units"]) <= set(frame.columns)
    data = found.to_dict()
    assert (data["status"], data["n_accelerator"], data["cost_per_hour"]) == ("optimal", 45, None)
    assert data["binding"].split(": ")[1] == "measured"


def test_a_phase_alone_may_be_equal():
    workers = [PREFILL, DECODE_4, DECODE_2]
    found = [split_workers(workers, 50.0, equal=e) for e in ("decode", ("decode", "decode"))]
    assert [f.n_accelerator for f in found] == [47, 47]
    assert found[0].rules.equal == found[1].rules.equal == ("decode",)


@pytest.mark.parametrize(
    ("keeping", "text"),
    [
        ({"available": {"h100": 8}}, "available must name platforms of the workers (none), got 'h100'"),
        ({"fabric": 1e9}, "fabric needs moved, got 1e+09 alone"),
        ({"moved": 1e9}, "moved needs fabric, got 1e+09 alone"),
    ],
)  # fmt: skip
def test_rules_that_would_do_nothing_are_refused(keeping, text):
    with pytest.raises(InputError) as caught:
        split_workers([PREFILL, DECODE_4, DECODE_2], 50.0, **keeping)
    assert str(caught.value) == text


def test_availability_is_of_platforms_that_workers_are_on():
    workers = [replace(PREFILL, platform="a"), replace(DECODE_4, platform="b")]
    assert split_workers(workers, 50.0, available={"a": 30, "b": 40}).counts
    with pytest.raises(InputError, match=r"of the workers \(a, b\), got 'c'"):
        split_workers(workers, 50.0, available={"a": 30, "c": 40})


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Worker("x", "both", 1, 1.0), "phase must be one of prefill, decode, got 'both'"),
        (lambda: Worker("x", "decode", 0, 1.0), "n_accelerator must be a whole number >= 1, got 0"),
        (lambda: Worker("x", "decode", 1, -1.0), "rate must be >= 0 1/s, got -1"),
        (lambda: Worker("x", "decode", 1, 1.0, power=-1.0), "power must be >= 0, got -1"),
        (lambda: Rules(headroom=1.0), r"headroom must be in \[0, 1\), got 1"),
        (lambda: Rules(equal=("both",)), "equal must be one of prefill, decode, got 'both'"),
        (lambda: Rules(available={"a": 1.5}), r"available\['a'\] must be a whole number >= 0, got 1.5"),
        (lambda: Rules(moved=-1.0), "moved must be >= 0 B, got -1"),
        (lambda: Limits(time_limit=0.0), "time_limit must be > 0 s, got 0"),
        (lambda: Limits(gap=2.0), r"gap must be in \[0, 1\], got 2"),
        (lambda: split_workers([PREFILL, DECODE_4], 1.0, cap=3), "unknown keyword 'cap'; options: headroom, available"),
        (lambda: Rules(fabric=0.0), "fabric must be > 0 B/s, got 0"),
        (lambda: Rules(budget=0.0), "budget must be > 0 currency/h, got 0"),
        (lambda: split_workers([PREFILL, DECODE_4], 1.0, power=9.0), "power of every worker is needed, 'P1' has none"),
        (lambda: split_workers([PREFILL, DECODE_4], 0.0), "rate must be > 0 1/s, got 0"),
        (lambda: split_workers([PREFILL, PREFILL, DECODE_4], 1.0), "workers must differ in name, got 'P1' twice"),
        (lambda: split_workers([PREFILL], 1.0), "workers must hold at least one for decode, got none"),
        (lambda: split_workers("PD", 1.0), "workers must hold Workers, got 'P'"),
        (lambda: split_workers([PREFILL, DECODE_4], [1.0, 2.0]), r"rate must be one number, got shape \(2,\)"),
        (lambda: split_workers([PREFILL, DECODE_4], 1.0, rank="cost"), "cost_per_hour of every worker is needed, 'P1' has none"),
        (lambda: split_workers([PREFILL, DECODE_4], 1.0, rank="speed"), "rank must be one of cost, accelerators, energy, got 'speed'"),
    ],
)  # fmt: skip
def test_messages(call, text):
    with pytest.raises(InputError, match=text):
        call()
