"""Errors: one family, each with what a reader needs to mend the call."""

import pickle

import pytest

from genz.core.errors import (
    GenzError,
    InfeasibleError,
    InputError,
    SchemaError,
    SolverError,
    UnknownNameError,
)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (InputError("x"), ValueError),
        (SchemaError("a.toml", ["x"]), ValueError),
        (UnknownNameError("model", "x", []), KeyError),
        (InfeasibleError("x"), GenzError),
        (SolverError("unbounded", "x"), RuntimeError),
    ],
)
def test_all_are_of_one_family_and_of_a_builtin_kind(error, base):
    assert isinstance(error, GenzError)
    assert isinstance(error, base)


def test_schema_error_lists_every_fault():
    assert str(SchemaError("a.toml", ["x"])) == "a.toml: 1 fault: x"
    error = SchemaError("a.toml", iter(["x is missing", "y is wrong"]))
    assert str(error) == "a.toml: 2 faults: x is missing; y is wrong"
    assert error.faults == ("x is missing", "y is wrong")


def test_solver_error_says_how_the_solver_ended():
    error = SolverError("unbounded", "the cost has no lower limit")
    assert str(error) == "solver ended with status 'unbounded': the cost has no lower limit"
    assert error.status == "unbounded"


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("llama3_70", ["llama3_70b", "llama2_70b", "opt_13b"], "did you mean 'llama3_70b'?"),
        ("Llama3-70B", ["llama3_70b", "gpt3"], "did you mean 'llama3_70b'?"),
        ("h100_8", ["genz_h100_8", "h100_sxm_8", "h100_sxm_1"], "did you mean 'h100_sxm_8', 'genz_h100_8'?"),
        ("llama_70b", ["codellama_70b", "llama2_70b", "gpt3"], "did you mean 'codellama_70b', 'llama2_70b'?"),
        ("h100", ["h100_sxm_8", "h100_sxm_1", "a100"], "did you mean 'h100_sxm_1', 'h100_sxm_8'?"),
        ("h2", [f"h2_{n}" for n in range(9)], f"did you mean {', '.join(repr(f'h2_{n}') for n in range(8))}?"),
        ("h2", ["xh2_a", "xh2_b", "xh2_c", "xh2_d"], "did you mean 'xh2_a', 'xh2_b', 'xh2_c'?"),
        ("zzz", ["b", "a"], "known: a, b"),
        ("zzz", [f"n{i:02d}" for i in range(13)], "known: n00, n01, n02, n03, n04, n05, n06, n07, n08, n09, n10, n11, …"),
        ("", ["a"], "known: a"),
        ("x", [], "there is none"),
    ],
)  # fmt: skip
def test_unknown_name_offers_the_nearest(name, known, hint):
    error = UnknownNameError("model", name, known)
    assert str(error) == f"no model named {name!r}; {hint}"
    assert (error.kind, error.name, error.known) == ("model", name, tuple(sorted(known)))


def test_unknown_name_takes_what_is_no_text():
    assert str(UnknownNameError("model", 3, ["a"])) == "no model named 3; known: a"


def test_errors_of_one_argument_survive_a_process_pool():
    error = pickle.loads(pickle.dumps(InputError("x must be > 0")))
    assert str(error) == "x must be > 0"
