import subprocess
import sys

import pytest

from genz.core.errors import InputError, UnknownNameError
from genz.paper import registry
from genz.paper.registry import Figure, figure, list_figures, register


def test_names_are_sorted_and_found():
    names = list_figures()
    assert names == sorted(names)
    assert "genz_offload" in names
    for name in names:
        assert figure(name).name == name
        assert figure(name).title
        assert figure(name).source


def test_unknown_name_offers_the_nearest():
    with pytest.raises(
        UnknownNameError, match="no figure named 'genz_ofload'; did you mean 'genz_offload'"
    ):
        figure("genz_ofload")


def test_unknown_name_without_a_near_one_lists_what_there_is():
    with pytest.raises(UnknownNameError, match="no figure named 'nonsense'; known: "):
        figure("nonsense")


def test_a_name_is_given_once(monkeypatch):
    monkeypatch.setattr(registry, "_FIGURES", {})
    entry = Figure(name="one", title="t", source="s", data=lambda: None, draw=lambda frame: frame)
    assert register(entry) is entry
    with pytest.raises(InputError, match="name of a figure must be new, got a second 'one'"):
        register(entry)


def test_figures_are_imported_on_first_use():
    code = (
        "import sys, genz.paper.registry as r; heavy = {'plotly', 'pandas', 'genz.plot.charts'};"
        "print(sorted(heavy & set(sys.modules))); r.figure('genz_offload');"
        "print('plotly' in sys.modules, 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True False"]
