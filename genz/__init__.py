"""Analytical sizing of LLM inference platforms.

>>> import genz
>>> step = genz.decode("llama3_8b", "h100_sxm_1", batch=8, context=4096, engine="ideal")
>>> f"{1e3 * step.time:.2f} ms, bound by {step.bound}"
'5.79 ms, bound by memory'
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

#: Public name -> module that holds it; imported on first use (PEP 562).
_PUBLIC = {
    "Accelerator": "genz.spec.hardware",
    "Adapter": "genz.spec.deployment",
    "Attention": "genz.spec.model",
    "CompressedAttention": "genz.spec.model",
    "Dense": "genz.spec.model",
    "Engine": "genz.spec.deployment",
    "Experts": "genz.spec.model",
    "GenzError": "genz.core.errors",
    "GroupQuantization": "genz.spec.quantization",
    "InfeasibleError": "genz.core.errors",
    "InputError": "genz.core.errors",
    "Kernel": "genz.spec.hardware",
    "LatentAttention": "genz.spec.model",
    "LayerGroup": "genz.spec.model",
    "Lengths": "genz.spec.deployment",
    "LinearAttention": "genz.spec.model",
    "Link": "genz.solve.disaggregate",
    "Load": "genz.solve.fleet",
    "Model": "genz.spec.model",
    "Network": "genz.spec.hardware",
    "Objective": "genz.spec.deployment",
    "Offload": "genz.spec.deployment",
    "Parallel": "genz.spec.deployment",
    "Platform": "genz.spec.hardware",
    "Precision": "genz.spec.precision",
    "Routing": "genz.spec.deployment",
    "SchemaError": "genz.core.errors",
    "SolverError": "genz.core.errors",
    "StateSpace": "genz.spec.model",
    "UnknownNameError": "genz.core.errors",
    "UnsupportedFormatError": "genz.core.errors",
    "Worker": "genz.solve.disaggregate",
    "Workload": "genz.spec.deployment",
    "accelerator": "genz.db.registry",
    "adadim": "genz.solve.quantization.adadim",
    "break_even": "genz.solve.break_even",
    "calibrate": "genz.solve.calibrate",
    "choose_quantization": "genz.solve.quantization.choice",
    "decode": "genz.api",
    "disaggregate": "genz.solve.disaggregate",
    "elasticity": "genz.solve.sensitivity",
    "engine": "genz.db.registry",
    "figure": "genz.paper.registry",
    "fleet": "genz.solve.fleet",
    "footprint": "genz.solve.quantization.footprint",
    "generate": "genz.api",
    "list_accelerators": "genz.db.registry",
    "list_engines": "genz.db.registry",
    "list_figures": "genz.paper.registry",
    "list_models": "genz.db.registry",
    "list_platforms": "genz.db.registry",
    "list_workloads": "genz.db.registry",
    "load": "genz.db.registry",
    "memory": "genz.api",
    "mixed": "genz.api",
    "model": "genz.db.registry",
    "model_from_huggingface": "genz.db.huggingface",
    "pareto": "genz.solve.pareto",
    "platform": "genz.db.registry",
    "prefill": "genz.api",
    "requirements": "genz.solve.requirements",
    "sensitivity": "genz.solve.sensitivity",
    "served": "genz.api",
    "size": "genz.solve.sizing.size",
    "sources": "genz.db.table",
    "split_workers": "genz.solve.disaggregate",
    "stack_platforms": "genz.api",
    "sweep": "genz.solve.sweep",
    "table": "genz.db.table",
    "validate": "genz.solve.validate",
    "workload": "genz.db.registry",
}

__all__ = ["__version__", *_PUBLIC]  # noqa: PLE0604


def __getattr__(name: str) -> object:
    """Import a public name on first use."""
    if name not in _PUBLIC:
        msg = f"module 'genz' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted(__all__)
