"""Errors of constants that stand in for kernels nobody measured; ``python -m genz.solve.calibrate.stand_ins`` writes them."""

__all__ = ["WIDENED"]

#: Error of constants of a format where weights or cache are narrower than it, or heads wide, and such kernels have none: what
#: holds 90 % of the rows of such kernels under the constants of plain ones, over all devices of AIConfigurator's tables (commit 095f58a,
#: read 2026-11-22), held-out rows left out. [1]
WIDENED = {
    "gemm": 0.56,
    "attention_prefill": 0.24,
    "attention_decode": 0.29,
    "experts": 0.57,
    "latent_prefill": 0.21,
    "latent_decode": 0.32,
    "attention_prefill_wide": 0.42,
    "attention_decode_wide": 0.29,
}
