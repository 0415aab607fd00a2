"""Models from the ``config.json`` that Hugging Face checkpoints carry.

Each family (``model_type``) has a reader that names the fields it understands. A field that no
reader has read, and that is not listed as costless in :mod:`genz.db.huggingface.ignored`, is
refused: no model is sized from a file that says more than was understood. Draft heads
(``num_nextn_predict_layers``, ``mtp_*``) and towers for images and sound are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genz.core.errors import InputError, UnknownNameError
from genz.db.huggingface import (
    classic,
    compressed,
    dense,
    experts,
    gemma,
    kimi,
    latent,
    nemotron,
    recurrent,
    step,
)
from genz.db.huggingface.fields import Fields, read_json, refuse_unknown, shown
from genz.db.huggingface.quantization import precision
from genz.spec.model import Model

__all__ = ["READERS", "model_from_huggingface"]

#: model_type -> reader of that family.
READERS: dict[str, Callable[[Fields], Model]] = {
    **dense.READERS,
    **gemma.READERS,
    **classic.READERS,
    **experts.READERS,
    **latent.READERS,
    **compressed.READERS,
    **kimi.READERS,
    **recurrent.READERS,
    **nemotron.READERS,
    **step.READERS,
}
# What every transformer's file holds; in a file of an unknown family the rest is worth naming.
_PLAIN = frozenset(
    [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
        "tie_word_embeddings",
        "attention_bias",
        "mlp_bias",
        "quantization_config",
        "text_config",
    ]
)
_OTHER_HEADS = ("Classification", "QuestionAnswering", "Reward", "Embedding")
_QUANT_FILE = "hf_quant_config.json"


def model_from_huggingface(
    config: str | Path | Mapping[str, Any], *, name: str | None = None
) -> Model:
    """Return the model that a Hugging Face ``config.json`` describes.

    No code from the checkpoint runs and nothing is fetched. Of a multimodal model the text part is
    read. Draft heads for multi-token prediction are left out. The formats of a quantised checkpoint
    become the model's ``precision``; NVIDIA's ``hf_quant_config.json`` beside the file is read too.

    Parameters
    ----------
    config : str, Path or mapping
        The file, the folder that holds it, or its content.
    name : str, optional
        Name of the model; by default from the file or its folder, or the content's
        ``_name_or_path`` or ``model_type``, in snake_case.

    Returns
    -------
    Model
        Its ``family`` is the ``model_type``; ``sources`` is empty.

    Raises
    ------
    InputError
        If the file cannot be read or is not a JSON object, a field is missing or breaks its rule,
        or a field that may change cost is not understood.
    UnknownNameError
        If no reader knows the family, or the quantisation method.

    Examples
    --------
    >>> llama2 = {
    ...     "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32,
    ...     "num_attention_heads": 32, "intermediate_size": 11008, "vocab_size": 32000,
    ... }
    >>> model_from_huggingface(llama2, name="llama2_7b").n_parameter
    6738415616
    """
    data, place, beside = _opened(config)
    try:
        outer = Fields(data)
        found = _read(outer, beside)
        found = found.replace(name=_chosen_name(name, config, outer))
        _refuse_left(outer)
    except InputError as error:
        msg = f"{place}: {error}"
        raise InputError(msg) from None
    except UnknownNameError as error:
        raise UnknownNameError(
            error.kind, error.name, error.known, place=place, more=error.more
        ) from None
    except RecursionError:
        msg = f"{place}: objects are nested too deep"
        raise InputError(msg) from None
    return found


def _opened(config: object) -> tuple[Any, str, Any]:
    """Return content, place and the content of NVIDIA's file."""
    if isinstance(config, Mapping):
        return config, "configuration", None
    if not isinstance(config, (str, Path)) or "\0" in str(config):
        msg = f"config must be a path or a mapping, got {shown(config)}"
        raise InputError(msg)
    path = Path(config)
    try:
        path = path / "config.json" if path.is_dir() else path
        second = path.with_name(path.name.removesuffix("config.json") + _QUANT_FILE)
        quantised = path.name.endswith("config.json") and second.is_file()
    except (OSError, ValueError) as error:  # a name no file can have
        msg = f"config must be a path, got {shown(str(config))}: {error}"
        raise InputError(msg) from None
    return read_json(path), str(path), read_json(second) if quantised else None


def _read(outer: Fields, beside: Any) -> Model:
    family = _family(outer)
    text = outer
    if "text_config" in outer:
        text = outer.table("text_config")
        family = text.text("model_type", default=family)
    if family not in READERS:
        raise UnknownNameError("model_type", family, READERS, more=_unknown(text))
    for part in {id(t): t for t in (outer, text)}.values():
        _check_heads(part)
    found = READERS[family](text)
    if text is not outer and "tie_word_embeddings" in outer:
        tied = outer.flag("tie_word_embeddings")
        found = found.replace(tied_embedding=tied)
    made = precision(text, outer, beside, found.n_layer)
    return found.replace(family=re.sub(r"[^a-z0-9]+", "_", family.lower()), precision=made)


def _family(f: Fields) -> str:
    """Return the model_type, or what the architecture's name says without one."""
    if "model_type" in f:
        return f.text("model_type")
    if "ssm_cfg" in f and "d_model" in f:
        return "mamba_original"
    names = [str(item) for item in f.items("architectures")]
    if not names:
        msg = "model_type is missing; it must name the family, such as 'llama'"
        raise InputError(msg)
    stem = re.sub(r"For(CausalLM|ConditionalGeneration)$|LMHeadModel$|Model$", "", names[0])
    plain = {re.sub(r"[^a-z0-9]", "", known.lower()): known for known in READERS}
    return plain.get(stem.lower(), stem)


def _check_heads(f: Fields) -> None:
    for item in f.items("architectures"):
        if any(head in str(item) for head in _OTHER_HEADS):
            f.refuse("architectures", "must be a language model with a head over the vocabulary")
    f.fixed(is_encoder_decoder=False, add_cross_attention=False, pruned_heads={})
    f.fixed(tie_encoder_decoder=False, use_bidirectional_attention=(False, "vision"))
    f.skip("cross_attention_hidden_size", "decoder_start_token_id")


def _unknown(f: Fields) -> str:
    fields = sorted(n for n, _ in f.left() if n.rsplit(".", 1)[-1] not in _PLAIN)
    return f"it has fields that are not understood: {', '.join(fields[:20])}" if fields else ""


def _refuse_left(f: Fields) -> None:
    refuse_unknown(f, "cost")


def _chosen_name(name: str | None, config: object, f: Fields) -> str:
    if name is not None:
        return name
    text = ""
    if isinstance(config, (str, Path)):
        path = Path(config)
        path = path / "config.json" if path.is_dir() else path
        folder = path.resolve().parent.name
        # A folder of a checkpoint has its size in its name; one without a digit holds examples or the like.
        text = re.sub(r"_?config$", "", path.stem) or (folder if re.search(r"\d", folder) else "")
    if not text:
        given = f.data.get("_name_or_path")
        text = given.rstrip("/") if isinstance(given, str) else ""
        text = text or str(f.data.get("model_type", "model"))
    text = re.split(r"/|--", text)[-1]
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_") or "model"
