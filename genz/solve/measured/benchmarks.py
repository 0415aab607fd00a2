"""Results of benchmarks of servers as whole runs: ``vllm bench serve``, ``vllm bench latency``, ``aiperf``, ``genai-perf``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from math import inf, isnan
from typing import Any

import pandas as pd

from genz.core.errors import InputError

__all__ = ["is_result", "json_runs", "json_values"]

_MILLI = 1e-3
#: Metrics by which a result of vllm bench serve is known, in ms; it holds those that were asked for.
_SERVE = {"ttft": "mean_ttft_ms", "tpot": "mean_tpot_ms", "latency": "mean_e2el_ms"}
#: Metrics of aiperf and genai-perf, tables with a unit and an average, by their names in all versions.
_PERF = {
    "ttft": ("time_to_first_token", "ttft"),
    "tpot": ("inter_token_latency", "inter_token_latency_avg"),
    "latency": ("request_latency",),
}
#: Numbers that are read, of vllm's tools, and averages of the others.
_NUMBERS = (
    *_SERVE.values(), "mean_itl_ms", "avg_latency", "completed", "num_prompts", "duration", "total_input_tokens",
    "total_output_tokens", "request_throughput", "max_concurrency",
)  # fmt: skip
_METRICS = (
    *(name for names in _PERF.values() for name in names), "output_sequence_length", "osl", "input_sequence_length",
    "isl", "request_count", "request_throughput",
)  # fmt: skip
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def json_values(text: str) -> Any:
    """Return what a file of JSON holds; a list where there is one value after another, as ``--append-result`` writes.

    Parameters
    ----------
    text : str
        One value, or several with space between them; other text is a ``json.JSONDecodeError``.
    """
    values: list[Any] = []
    decoder, at = json.JSONDecoder(), len(text) - len(text.lstrip())
    while at < len(text) or not values:
        value, end = decoder.raw_decode(text, at)
        values.append(value)
        at = end + len(text[end:]) - len(text[end:].lstrip())
    return values[0] if len(values) == 1 else values


def is_result(data: Any) -> bool:
    """Whether something is the result of a benchmark, or a list of such."""
    entries = data if isinstance(data, list) else [data]
    return bool(entries) and all(isinstance(e, Mapping) and _reader(e) for e in entries)


def json_runs(data: Any, place: object) -> pd.DataFrame:
    """Return the run, or list of runs, that a benchmark wrote as JSON.

    Parameters
    ----------
    data : mapping or list of mappings
        Result of ``vllm bench serve``, ``vllm bench latency``, ``aiperf`` or ``genai-perf``.
    place : object
        What messages call it.

    Returns
    -------
    DataFrame
        Own columns, as far as the result holds them.

    Raises
    ------
    InputError
        If it is none of these, no request was completed, or a number is none.

    Notes
    -----
    Where clients each keep a request in flight, or all requests are sent at once, ``batch`` is their number. Where requests
    are sent at a rate, it is the mean number in flight by Little's law, the measured throughput times the measured
    latency, at most that of the clients: the replica then serves as many requests at a time as in that run, whether or not it kept
    up with the rate.
    """
    entries = data if isinstance(data, list) else [data]
    if not entries or not all(isinstance(e, Mapping) for e in entries):
        msg = f"{place} must hold the result of a benchmark, got {data!r:.60}"
        raise InputError(msg)
    return pd.DataFrame([_one(entry, place) for entry in entries])


def _one(data: Mapping[str, Any], place: object) -> dict[str, Any]:
    read = _reader(data)
    if read is None:
        msg = (
            f"{place} is not the result of vllm bench serve, vllm bench latency, aiperf or genai-perf: "
            f"keys {', '.join(map(str, list(data)[:8])) or 'none'}"
        )
        raise InputError(msg)
    _check_numbers(data, place)
    if data.get("completed") == 0:
        msg = f"{place} holds no time: no request was completed"
        raise InputError(msg)
    return {name: value for name, value in read(data).items() if value is not None}


def _check_numbers(data: Mapping[str, Any], place: object) -> None:
    """Refuse texts where a benchmark writes numbers; what it leaves out is none."""
    records = _records(data)
    averages = {n: records[n].get("avg") for n in _METRICS if isinstance(records.get(n), Mapping)}
    for name, value in ({n: data.get(n) for n in _NUMBERS} | averages).items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            msg = f"{name} in {place} must be a number, got {value!r:.40}"
            raise InputError(msg)
    rate = data.get("request_rate")
    if isinstance(rate, str) and rate != "inf":
        msg = f"request_rate in {place} must be a number or 'inf', got {rate!r:.40}"
        raise InputError(msg)


def _reader(data: Mapping[str, Any]) -> Any:
    """Return what reads a result, None where its layout is none of those known."""
    if any(name in data for name in _SERVE.values()):
        return _vllm_serve
    if "avg_latency" in data:
        return _vllm_latency
    records = _records(data)
    if any(isinstance(records.get(n), Mapping) for names in _PERF.values() for n in names):
        return _perf
    return None


def _vllm_latency(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"latency": data["avg_latency"], "load": "static"}


def _vllm_serve(data: Mapping[str, Any]) -> dict[str, Any]:
    done = data.get("completed") or data.get("num_prompts")
    times = {name: _over(data.get(key), 1.0 / _MILLI) for name, key in _SERVE.items()}
    between = _over(data.get("mean_itl_ms"), 1.0 / _MILLI) or times["tpot"]
    output = _over(data.get("total_output_tokens"), done)
    rate = float(data.get("request_rate") or inf)  # "inf": all at once
    if "ramp_up_strategy" in data:
        rate = 0.0
    load = _load(
        data.get("max_concurrency"), rate, done,
        data.get("request_throughput") or _over(done, data.get("duration")),
        times["latency"] or _whole(times["ttft"], between, output),
    )  # fmt: skip
    prompt = _over(data.get("total_input_tokens"), done)
    return {"model": data.get("model_id"), "prompt": prompt, "output": output, **times, **load}


def _perf(data: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics are tables with a unit and an average; the load is somewhere in the configuration."""
    records, setup = _records(data), data.get("input_config")
    times = {name: _metric(records, *keys) for name, keys in _PERF.items()}
    output = _metric(records, "output_sequence_length", "osl")
    rate = _first(_found(setup, "request_rate"), (int, float)) or _phase_rate(setup)
    done = _metric(records, "request_count")
    load = _load(
        _first(_found(setup, "concurrency"), (int,)), rate or inf, done,
        _metric(records, "request_throughput"),
        times["latency"] or _whole(times["ttft"], times["tpot"], output),
    )  # fmt: skip
    prompt = _metric(records, "input_sequence_length", "isl")
    return {"model": _named(setup), "prompt": prompt, "output": output, **times, **load}


def _load(
    client: Any, rate: float, done: Any, throughput: float | None, latency: float | None
) -> dict[str, Any]:
    """Return the number of clients that a run had, or was like, and of its requests where all clients start at once."""
    if rate < inf:
        if not (throughput and latency):
            return {"load": "closed"}
        inside = max(1.0, float(round(throughput * latency)))
        return {"load": "closed", "batch": min(inside, client or inf)}
    if done is None:
        return {"load": "closed", "batch": client}
    return {"load": "closed", "batch": min(client or done, done), "n_request": done}


def _whole(ttft: float | None, tpot: float | None, output: float | None) -> float | None:
    """Return the time of a request from its parts [s]."""
    return None if None in (ttft, tpot, output) else ttft + (output - 1.0) * tpot  # type: ignore[operator]


def _over(value: Any, divisor: Any) -> float | None:
    if not (value and divisor) or isnan(value):  # no request had such a time
        return None
    return float(value) / float(divisor)


def _records(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the table of metrics: the first versions of aiperf keep it apart."""
    return data["records"] if isinstance(data.get("records"), Mapping) else data


def _metric(records: Mapping[str, Any], *names: str) -> float | None:
    for name in names:
        metric = records.get(name)
        if isinstance(metric, Mapping) and metric.get("avg") is not None:
            return float(metric["avg"]) * _UNITS.get(str(metric.get("unit", "")), 1.0)
    return None


def _named(setup: Any) -> str | None:
    """Return the model: under one of the keys there is its name, a list of names, or a table with them."""
    names = (v for key in ("model_names", "model", "models") for v in _found(setup, key))
    return next((text for text in map(_text, names) if text), None)


def _text(value: Any) -> str | None:
    """Return a name, or the first of a list or table of them."""
    if isinstance(value, list):
        return _text(value[0]) if value else None
    if isinstance(value, Mapping):
        return _text(value.get("items", value.get("name")))
    return value if isinstance(value, str) else None


def _phase_rate(setup: Any) -> Any:
    """Return the rate at which a phase sends requests, None where clients do."""
    phases = setup.get("phases") if isinstance(setup, Mapping) else None
    counted = [p for p in phases or () if not p.get("exclude_from_results")]
    return _first((p.get("rate") for p in counted), (int, float))


def _first(values: Iterable[Any], kinds: tuple[type, ...]) -> Any:
    """Return the first number of a kind, None where there is none."""
    return next((v for v in values if isinstance(v, kinds) and not isinstance(v, bool)), None)


def _found(value: Any, key: str) -> Iterator[Any]:
    """Yield what a key holds, anywhere in nested tables and lists but in phases that do not count."""
    if isinstance(value, Mapping):
        if value.get("exclude_from_results"):
            return
        if value.get(key) is not None:
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _found(inner, key)
