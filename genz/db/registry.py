"""Entries by name: one TOML file each, read on first use, checked against the record's schema."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from genz.core.errors import InputError, SchemaError, UnknownNameError
from genz.core.schema import from_dict
from genz.db.paths import data_root
from genz.spec.deployment import Engine, Workload
from genz.spec.hardware import Accelerator, Platform
from genz.spec.model import Model

__all__ = [
    "KINDS",
    "accelerator",
    "engine",
    "list_accelerators",
    "list_engines",
    "list_models",
    "list_platforms",
    "list_workloads",
    "load",
    "model",
    "platform",
    "workload",
]

#: Kind of entry -> (database, folder, record class).
KINDS: dict[str, tuple[str, str, Any]] = {
    "accelerator": ("hardware_db", "accelerators", Accelerator),
    "platform": ("hardware_db", "platforms", Platform),
    "engine": ("hardware_db", "engines", Engine),
    "model": ("model_db", "models", Model),
    "workload": ("model_db", "workloads", Workload),
}


def accelerator(name: str | Accelerator) -> Accelerator:
    """Return an accelerator of the database.

    Examples
    --------
    >>> import genz
    >>> f"{genz.accelerator('nvidia_h100_sxm').peak('bf16') / 1e12:.0f} Tflop/s"
    '989 Tflop/s'
    """
    return _entry("accelerator", name)  # type: ignore[no-any-return]


def platform(name: str | Platform | Accelerator) -> Platform:
    """Return a platform of the database, or an accelerator as a platform of one, which has no price.

    Examples
    --------
    >>> import genz
    >>> platform = genz.platform("h100_sxm_8")
    >>> platform.accelerator.name, platform.accelerators_per_node
    ('nvidia_h100_sxm', 8)
    >>> dearer = platform.replace(price=[2.5, 4.0])  # any number may be an array
    """
    if isinstance(name, Accelerator):
        return Platform(name=name.name, accelerator=name, accelerators_per_node=1)
    return _entry("platform", name)  # type: ignore[no-any-return]


def engine(name: str | Engine) -> Engine:
    """Return a serving engine of the database.

    Examples
    --------
    >>> import genz
    >>> eager = genz.engine("vllm_0_24").replace(max_token=2048, name="vllm, steps of 2048")
    """
    return _entry("engine", name)  # type: ignore[no-any-return]


def model(name: str | Model) -> Model:
    """Return a model of the database.

    Examples
    --------
    >>> import genz
    >>> model = genz.model("deepseek_v3")
    >>> f"{model.n_parameter / 1e9:.0f} billion weights, {model.n_active_parameter / 1e9:.0f} of them active"
    '671 billion weights, 38 of them active'
    """
    return _entry("model", name)  # type: ignore[no-any-return]


def workload(name: str | Workload) -> Workload:
    """Return a workload of the database.

    Examples
    --------
    >>> import genz
    >>> genz.workload("azure_code").output.mean < 0.02 * genz.workload("azure_code").prompt.mean
    True
    """
    return _entry("workload", name)  # type: ignore[no-any-return]


def list_accelerators() -> list[str]:
    """Return the names of all accelerators, sorted."""
    return sorted(_files("accelerator"))


def list_platforms() -> list[str]:
    """Return the names of all platforms, sorted."""
    return sorted(_files("platform"))


def list_engines() -> list[str]:
    """Return the names of all engines, sorted."""
    return sorted(_files("engine"))


def list_models() -> list[str]:
    """Return the names of all models, sorted."""
    return sorted(_files("model"))


def list_workloads() -> list[str]:
    """Return the names of all workloads, sorted."""
    return sorted(_files("workload"))


def load(path: str | Path, kind: str | None = None) -> Any:
    """Return the entry that a user's TOML file holds.

    Parameters
    ----------
    path : str or Path
        A file in the form of the database's own files.
    kind : {"accelerator", "platform", "engine", "model", "workload"}, optional
        What it is read as; by default the kind whose required keys it has. An accelerator is a platform of one too.

    Returns
    -------
    Accelerator, Platform, Engine, Model or Workload

    Raises
    ------
    SchemaError
        If the file is not TOML, or does not match the schema.
    UnknownNameError
        If ``kind`` is none of these.
    InputError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> import genz
    >>> path = Path(tempfile.mkdtemp()) / "mine.toml"
    >>> _ = path.write_text('''
    ... name = "mine"
    ... vendor = "me"
    ... generation = "first"
    ... memory_capacity = 96e9
    ... memory_bandwidth = 4e12
    ... power = 500.0
    ... peak_flop_rate = {bf16 = 800e12}
    ... ''')
    >>> step = genz.decode("llama3_8b", genz.load(path), context=1000, engine="ideal")
    >>> f"{1e3 * step.time:.1f} ms"
    '3.8 ms'
    """
    if not isinstance(path, (str, Path)):
        msg = f"path must be a file, got {path!r:.80}"
        raise InputError(msg)
    path = Path(path)
    data = _parse(path)
    found = _kind_of(data)
    if kind is None:
        kind = found
    elif kind not in KINDS:
        raise UnknownNameError("kind of entry", kind, KINDS)
    if (kind, found) == ("platform", "accelerator"):
        return platform(_record(found, data, path))
    return _record(kind, data, path)


def _kind_of(data: Mapping[str, Any]) -> str:
    signs = {
        "groups": "model",
        "peak_flop_rate": "accelerator",
        "accelerator": "platform",
        "prompt": "workload",
    }
    return next((kind for key, kind in signs.items() if key in data), "engine")


def _entry(kind: str, name: Any) -> Any:
    cls = KINDS[kind][2]
    if isinstance(name, cls):
        return name
    if not isinstance(name, str):
        msg = f"{kind} must be a name or a {cls.__name__}, got {name!r:.80}"
        raise InputError(msg)
    return _named(kind, name)


@cache
def _named(kind: str, name: str) -> Any:
    known = _files(kind)
    if name.endswith(".toml") and name not in known:
        msg = f"{kind} must be a name of the database, got the file {name!r:.200}: genz.load reads files"
        raise InputError(msg)
    if name not in known:
        if kind == "model" and name.endswith(".json"):
            msg = f"model must be a name of the database, got the file {name!r:.200}: genz.model_from_huggingface reads it"
            raise InputError(msg)
        raise UnknownNameError(
            kind, name, known, more=_platforms_of(name) if kind == "platform" else ""
        )
    entry = _record(kind, _parse(known[name]), known[name])
    if entry.name != name:
        raise SchemaError(
            known[name], [f"name must equal the file stem {name!r}, got {entry.name!r}"]
        )
    return entry


def _platforms_of(name: str) -> str:
    """Return which platforms an accelerator has, in words, if it is one."""
    if name not in _files("accelerator"):
        return ""
    found = [p for p in list_platforms() if platform(p).accelerator.name == name]
    return f"{name!r} is an accelerator, platforms of it are {', '.join(found) or 'none'}"


@cache
def _files(kind: str) -> dict[str, Traversable]:
    database, folder, _ = KINDS[kind]
    found: dict[str, Traversable] = {}
    for file in _toml_files(data_root(database) / folder):
        stem = file.name.removesuffix(".toml")
        if stem in found:
            raise SchemaError(file, [f"a second {kind} named {stem!r}; the first is {found[stem]}"])
        found[stem] = file
    return found


def _toml_files(folder: Traversable) -> Iterator[Traversable]:
    for item in folder.iterdir():
        if item.is_dir():
            yield from _toml_files(item)
        elif item.name.endswith(".toml"):
            yield item


def _parse(file: Path | Traversable) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise SchemaError(file, [f"not valid TOML: {error}"]) from None
    except OSError as error:
        msg = f"cannot read {file}: {error.strerror or error}"
        raise InputError(msg) from None


def _record(kind: str, data: dict[str, Any], place: object) -> Any:
    cls = KINDS[kind][2]
    if kind == "platform" and isinstance(data.get("accelerator"), str):
        try:
            data = data | {"accelerator": accelerator(data["accelerator"])}
        except UnknownNameError as error:
            raise SchemaError(place, [str(error)]) from None
    return from_dict(cls, data, place)
