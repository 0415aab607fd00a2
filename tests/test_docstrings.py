"""Docstrings: there for everything public, with the arguments that the function has, and units."""

import importlib
import inspect
import pkgutil
import re
from dataclasses import is_dataclass

import pytest
from numpydoc.docscrape import ClassDoc, FunctionDoc

import genz

BRACKET = re.compile(r"\[[^\[\]]+\]\s*$")
MODULES = [
    m.name for m in pkgutil.walk_packages(genz.__path__, "genz.") if "__main__" not in m.name
]
#: Layers whose functions compute physical quantities.
MODELS = ("genz.ops", "genz.perf", "genz.serve")


def public():
    for name in MODULES:
        module = importlib.import_module(name)
        for item in getattr(module, "__all__", ()):
            value = getattr(module, item)
            own = getattr(value, "__module__", None) == name
            if own and "<locals>" not in getattr(value, "__qualname__", "<locals>"):
                yield pytest.param(value, id=f"{name}.{item}")


def functions():
    for case in public():
        value = case.values[0]
        if inspect.isfunction(value) and FunctionDoc(value)["Parameters"]:
            yield case


def documented(value):
    """Names of parameters, several to a line split."""
    return [
        label.strip().lstrip("*")
        for parameter in FunctionDoc(value)["Parameters"]
        for label in parameter.name.split(",")
    ]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("value", list(public()))
def test_everything_public_has_a_docstring(value):
    text = inspect.getdoc(value)
    assert text
    assert text.splitlines()[0].rstrip("].").strip()
    if inspect.isclass(value):
        for name, member in vars(value).items():
            if inspect.isfunction(member) and not name.startswith("_"):
                assert member.__doc__, name
            if isinstance(member, property) and not name.startswith("_"):
                assert member.__doc__, name


@pytest.mark.parametrize("value", list(functions()))
def test_documented_parameters_are_those_of_the_signature(value):
    assert documented(value) == list(inspect.signature(value).parameters)


@pytest.mark.parametrize("value", [c for c in functions() if c.id.startswith(MODELS)])
def test_numbers_of_models_have_units(value):
    doc = FunctionDoc(value)
    for parameter in doc["Parameters"]:
        if re.match(r"(array_like|ndarray)(?! of bool)", parameter.type):
            assert BRACKET.search(" ".join(parameter.desc)), parameter.name
    for result in doc["Returns"]:
        if re.match(r"ndarray(?! of)", result.type):
            assert BRACKET.search(" ".join(result.desc)), value.__name__


def results():
    for case in public():
        value = case.values[0]
        if is_dataclass(value) and case.id.startswith(("genz.perf", "genz.serve")):
            attributes = ClassDoc(value)["Attributes"]
            numbers = [
                a for a in attributes if re.match(r"(array_like|ndarray)(?! of bool)", a.type)
            ]
            if numbers:
                yield pytest.param(value, numbers, id=case.id)


@pytest.mark.parametrize(("value", "numbers"), list(results()))
def test_fields_of_results_have_units(value, numbers):
    fields = {name for name in value.__dataclass_fields__ if not name.startswith("_")}
    for attribute in numbers:
        assert {n.strip() for n in attribute.name.split(",")} <= fields
        if "index" not in attribute.name:
            assert BRACKET.search(" ".join(attribute.desc)), attribute.name


@pytest.mark.parametrize("value", list(functions()))
def test_raised_errors_are_named(value):
    known = vars(importlib.import_module("genz.core.errors"))
    for raised in FunctionDoc(value)["Raises"]:
        assert raised.type in known
        assert raised.desc
