"""Mélange: which GPU serves a request of a given size at least cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genz.core.typing import FloatArray
from genz.paper.frames import table
from genz.paper.melange_inputs import GPUS, SOURCE, SPEC_NOTE, per_dollar
from genz.paper.registry import Figure, register
from genz.plot.charts import Encoding
from genz.plot.tiles import tiles

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BEST", "PAIR_7B", "PAIR_70B", "SLO"]

_PROMPTS = (25, 100, 250, 500, 1000, 2000, 4000, 8000, 12000, 16000)
_OUTPUTS = (2000, 1000, 500, 250, 100, 25)
_LIMIT = 0.120
_NAMES = {"L": "L4", "G": "A10G", "A": "A100", "H": "H100"}
_UNITS = {"prompt": "tokens", "output": "tokens"}
_PERCENT = _UNITS | {"advantage": "1", "published": "1"}

#: Best GPU by output (rows) and prompt, read off the authors' figure.
_BEST = ("AAAAAAHHHH", "AAAAAAAHHH", "GGGAAAAHHH", "GGGGAAAHHH", "GGGGAAAHHH", "LGGGGGAAHH")

#: Advantage in requests per dollar, in per cent: of the A10G, or, below zero, of the A100.
_PAIR_7B = (
    (-8, -10, -13, -17, -18, -38),
    (-6, -10, -11, -11, -18, -20),
    (12, 2, 1, -4, -17, -21),
    (28, 11, 2, 1, -8, -13),
    (52, 25, 15, 1, -1, -4),
    (72, 52, 20, 17, 13, 11),
)

#: The same of two A100, or, below zero, of two H100, for Llama-2-70B.
_PAIR_70B = (
    (9, -6, -6, -24, -27, -55),
    (16, 8, 5, 7, -11, -52),
    (23, 15, 8, 9, -8, -47),
    (35, 26, 16, 15, 8, -34),
    (39, 35, 33, 18, 16, -7),
    (43, 40, 32, 32, 33, -1),
)

_SIZES = (500, 250, 100, 64, 25)
_LIMITS = (40, 60, 80, 100, 120, 140, 160)

#: Advantage of the A10G over the A100 by size (prompt and output alike, rows) and limit.
_SLO = (
    (-109, -60, -61, -61, -61, -61, -61),
    (-91, -22, -26, -24, -24, -24, -24),
    (-99, -8, 14, 20, 20, 19, 19),
    (-97, -11, 6, 21, 38, 46, 41),
    (-119, -11, 5, 27, 32, 44, 42),
)


def _grid(columns: tuple[int, ...], rows: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Return the values of columns and rows at each tile, row by row."""
    x, y = np.meshgrid(np.array(columns, dtype=float), np.array(rows, dtype=float))
    return x.ravel(), y.ravel()


def _advantage(one: FloatArray, other: FloatArray) -> FloatArray:
    """Return by how much one is more than the other, or, below zero, less than it [1]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(one >= other, one / other - 1.0, 1.0 - other / one)


def _best() -> pd.DataFrame:
    prompt, output = _grid(_PROMPTS, _OUTPUTS)
    rates = np.stack([per_dollar(gpu, prompt, output, _LIMIT) for gpu in GPUS])
    first, second = np.sort(rates, axis=0)[::-1][:2]
    names = np.array(list(GPUS))[np.argmax(rates, axis=0)]
    published = [_NAMES[letter] for row in _BEST for letter in row]
    rows = zip(prompt, output, names, first / second - 1.0, published, strict=True)
    return table("prompt output best margin published", rows, _UNITS | {"margin": "1"})


def _draw_best(frame: pd.DataFrame) -> Any:
    shown = frame.assign(
        text=[
            own if own == theirs else f"{own}<br>(paper: {theirs})"
            for own, theirs in zip(frame["best"], frame["published"], strict=True)
        ]
    )
    encoding = Encoding(x="prompt", y="output", color="best")
    return tiles(shown, encoding, text="text", title=BEST.title)


def _pair(model: str, gpus: tuple[str, str], tensor: int, published: Any) -> pd.DataFrame:
    prompt, output = _grid(_PROMPTS[:6], _OUTPUTS)
    one, other = (
        per_dollar(gpu, prompt, output, _LIMIT, model=model, tensor=tensor) for gpu in gpus
    )
    rows = zip(prompt, output, _advantage(one, other), np.ravel(published) / 100.0, strict=True)
    return table("prompt output advantage published", rows, _PERCENT)


def _slo() -> pd.DataFrame:
    limit, size = _grid(_LIMITS, _SIZES)
    one, other = (per_dollar(gpu, size, size, limit / 1e3) for gpu in ("A10G", "A100"))
    rows = zip(limit / 1e3, size, _advantage(one, other), np.ravel(_SLO) / 100.0, strict=True)
    return table("tpot size advantage published", rows, {
        "tpot": "s", "size": "tokens", "advantage": "1", "published": "1",
    })  # fmt: skip


def _draw_pair(frame: pd.DataFrame, encoding: Encoding, title: str) -> Any:
    shown = frame.assign(
        advantage=frame["advantage"].clip(-1.5, 1.5),
        text=[
            f"{own:+.0%}<br>({theirs:+.0%})"
            for own, theirs in zip(frame["advantage"], frame["published"], strict=True)
        ],
    )
    shown.attrs = frame.attrs
    return tiles(shown, encoding, text="text", title=title)


_TITLE_7B = (
    "Requests per dollar, A10G (above 0) or A100 (below 0): Llama-2-7B, 120 ms; in brackets: paper"
)
_TITLE_70B = (
    "Requests per dollar, two A100 (above 0) or two H100 (below 0): "
    "Llama-2-70B, 120 ms; in brackets: paper"
)
_TITLE_SLO = (
    "Requests per dollar by limit, A10G (above 0) or A100 (below 0): Llama-2-7B; in brackets: paper"
)
_SIZE = Encoding(x="prompt", y="output", color="advantage")

BEST = register(
    Figure(
        name="melange_best_gpu",
        title="GPU with most requests per dollar: Llama-2-7B, 120 ms per token",
        source=f"{SOURCE}, map of the best GPU",
        data=_best,
        draw=_draw_best,
        note=(
            f"{SPEC_NOTE} Same GPU in 49 of 60 cells, in one of them by less than 1 %. Of the 11 others, one is prompts of 4000 "
            "tokens with 2000 out: the model has the A100 5 % ahead of the H100 per dollar, and the H100 2 % ahead at 8000, the paper "
            "the H100 at both, with 2 to 3 times the A100's throughput, and 4.1 times at 16000 tokens, more than bandwidth (1.7 times) and arithmetic (3.2 "
            "times) explain. 7 are outputs of 25 to 250 tokens after longer prompts: prompts bind the model, and with the wait for "
            "them its H100 serves 2.2 to 4.0 times what its A100 does, the paper's at most 2 times. 3 lie at borders of the small "
            "GPUs, where the model has two within 2 %. Decode is the kernel of later releases without the rules of "
            "FlashAttention, as that of the time is not measured: with those rules the same GPU is best in 47 cells, with masked "
            "multi-head attention in 43. "
            "The choice of the engine matters as much: that of Splitwise's DGX H100 agrees in 45 cells, its own engine for each "
            "generation in 41, as the H100 loses more to the software of the time than the A100."
        ),
    )
)

PAIR_7B = register(
    Figure(
        name="melange_a10g_a100",
        title=_TITLE_7B,
        source=f"{SOURCE}, map of A10G and A100",
        data=lambda: _pair("llama2_7b", ("A10G", "A100"), 1, _PAIR_7B),
        draw=lambda frame: _draw_pair(frame, _SIZE, _TITLE_7B),
        note=(
            f"{SPEC_NOTE} Same sign in 32 of 36 cells. Three of the others lie at the border between the two; of the fourth, 2000 "
            "tokens in and 25 out, prompts bind the model, and its A100 is ahead."
        ),
    )
)

PAIR_70B = register(
    Figure(
        name="melange_a100_h100_70b",
        title=_TITLE_70B,
        source=f"{SOURCE}, map of two A100 and two H100",
        data=lambda: _pair("llama2_70b", ("A100", "H100"), 2, _PAIR_70B),
        draw=lambda frame: _draw_pair(frame, _SIZE, _TITLE_70B),
        note=(
            f"{SPEC_NOTE} Same sign in 18 of 36 cells. The paper's H100 is 1.4 times as fast as its A100 at the smallest "
            "requests, as if a fixed time bound both, and 3.2 times at the largest. In the model arithmetic binds small "
            "requests, which favours the H100, and the room for the cache, 15 GB on either pair, binds large ones."
        ),
    )
)

SLO = register(
    Figure(
        name="melange_slo",
        title=_TITLE_SLO,
        source=f"{SOURCE}, map over limits",
        data=_slo,
        draw=lambda frame: _draw_pair(
            frame,
            Encoding(
                x="tpot",
                y="size",
                color="advantage",
                units={"tpot": "ms"},
                titles={"size": "Prompt and output"},
            ),
            _TITLE_SLO,
        ),
        note=(
            f"{SPEC_NOTE} Same sign in 25 of 35 cells. The paper's two maps differ where they show the same cell, 120 ms: "
            "250 tokens -24 % here and +2 % there, 500 tokens -61 % and -4 %; six of the differing cells are that row of 250."
        ),
    )
)
