"""What the audit holds entries against: arithmetic per core and clock, memory interfaces, links.

None of this is read by a prediction. Each table says the same thing as the entries in another way: a peak is
cores x clock x arithmetic per core and clock, a bandwidth is pins x rate of a pin, a link is lanes x rate of a
lane. A factor of 2 (sparsity, both directions) or of 1.07 (binary units) in an entry breaks the agreement.

The arithmetic per streaming multiprocessor and clock is that of NVIDIA's architecture white papers (V100 2017,
Turing 2018, A100 2020, GA102 2020, H100 2022, Ada 2022, Blackwell 2024), per compute unit that of AMD's CDNA 2, 3
and 4 white papers, per matrix unit 2 x rows x columns (TPU: Jouppi et al. 2023, doi:10.1145/3579371.3589350,
and Austin et al., "How to Scale Your Model", 2025; Gaudi: two and eight units of 256 x 256; Groq: four planes
of 320 x 320, Abts et al. 2022, doi:10.1145/3470496.3527405; Cerebras: Lie, IEEE Micro 2023). Pins and rates are
those of the JEDEC standards and the makers' data sheets.

How much they prove differs. All were written down from memory of these documents, none was opened for it, and by
somebody who had seen the entries. Where the numbers follow from a standard (stacks x 1024 pins x a JEDEC rate, 18 links of
NVLink 4, 2 x 256 x 256 flop), agreement is evidence for the entry. The tables PINNED_PEAK, PINNED_BANDWIDTH and the names in
PINNED_LANES only repeat the entry as it was: they see a later change, never an error that was there from the start.
The same holds for the 16-bit peak of the names in CLOCK_FROM_PEAK, whose clock the entry computed from that
peak; there the rule on plausible clocks is what sees a factor of 2, and nothing here would see one of 1.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = [
    "CLOCK",
    "CLOCK_FROM_PEAK",
    "EXCEPTIONS",
    "GB_ENTRIES",
    "GIB_MAKERS",
    "HOST",
    "LANES",
    "PACE",
    "PINNED_BANDWIDTH",
    "PINNED_LANES",
    "PINNED_PEAK",
    "PINS",
    "RATIO",
    "RATIO_OF",
    "VARIANT",
    "Pace",
]


@dataclass(frozen=True, slots=True)
class Pace:
    """Dense arithmetic of a chip: by format, per core and clock [flop].

    ``n_core`` and ``clock`` stand in where an entry has none, or counts other cores than the matrix units.
    """

    flop: Mapping[str, float]
    n_core: float | None = None
    clock: float | None = None
    boost: Mapping[str, float] = field(default_factory=dict)  # formats printed at a higher clock


def _halving(bf16: float, *, fp32: float, **more: float) -> dict[str, float]:
    """Matrix formats of a chip whose rate doubles when the format halves."""
    return {"fp32": fp32, "tf32": bf16 / 2, "bf16": bf16, "fp16": bf16, "int8": 2 * bf16} | more


#: Generation, or variant of one, -> arithmetic.
PACE: dict[str, Pace] = {
    "volta": Pace({"fp16": 1024}, boost={"fp64": 64, "fp32": 128}),
    "turing": Pace({"fp16": 1024, "int8": 2048, "int4": 4096}, boost={"fp32": 128}),
    "ampere": Pace(_halving(2048, fp32=128, int4=8192, fp64=128)),
    "ga102": Pace(_halving(1024, fp32=256, int4=4096)),
    # 16-bit products accumulated in fp32 at half rate; int8 and int4 are not
    "ga102_consumer": Pace(_halving(512, fp32=256, int8=2048, int4=4096)),
    "a10g": Pace(_halving(512, fp32=256, int4=2048)),
    "hopper": Pace(
        {"tf32": 2048, "bf16": 4096, "fp16": 4096, "fp8": 8192, "int8": 8192},
        boost={"fp64": 256, "fp32": 256},
    ),
    "h20": Pace(
        {"tf32": 512, "bf16": 1024, "fp16": 1024, "fp8": 2048, "int8": 2048}, boost={"fp32": 256}
    ),
    "ada": Pace(_halving(1024, fp32=256, fp8=2048, int4=4096)),
    "ada_consumer": Pace(_halving(512, fp32=256, fp8=1024, int8=2048, int4=4096)),
    "l40": Pace(_halving(512, fp32=256, fp8=1024, int4=2048)),
    "l20": Pace(_halving(512, fp32=256, fp8=1024)),
    "blackwell": Pace(
        _halving(8192, fp32=256, fp8=16384, fp6=16384, fp4=32768), boost={"fp64": 128, "fp32": 256}
    ),
    "blackwell_ultra": Pace(
        {"tf32": 4096, "bf16": 8192, "fp16": 8192, "fp8": 16384, "fp6": 16384, "fp4": 49152},
        boost={"fp64": 4, "fp32": 256, "int8": 512},
    ),
    "blackwell_consumer": Pace(_halving(1024, fp32=256, fp8=2048, fp4=4096)),
    "blackwell_thor": Pace(
        {"bf16": 8192, "fp16": 8192, "fp8": 16384, "fp4": 32768}, boost={"fp32": 256}
    ),
    "geforce_blackwell": Pace(_halving(512, fp32=256, fp8=1024, int8=2048, fp4=4096)),
    "cdna2": Pace({"fp64": 256, "fp32": 256, "bf16": 1024, "fp16": 1024, "int8": 1024}),
    "cdna3": Pace(
        {"fp64": 256, "fp32": 256, "tf32": 1024, "bf16": 2048, "fp16": 2048, "fp8": 4096, "int8": 4096}
    ),
    "cdna4": Pace(
        {"fp64": 128, "fp32": 256, "bf16": 4096, "fp16": 4096, "fp8": 8192, "int8": 8192, "fp6": 16384,
         "fp4": 16384}
    ),
    "gaudi2": Pace({"bf16": 2 * 256 * 256, "fp8": 4 * 256 * 256}, n_core=2),
    "gaudi3": Pace({"bf16": 2 * 256 * 256, "fp8": 2 * 256 * 256}, n_core=8),
    "tpu_v4": Pace({"bf16": 2 * 128 * 128, "int8": 2 * 128 * 128}, n_core=8, clock=1.05e9),
    "tpu_v5e": Pace({"bf16": 2 * 128 * 128, "int8": 4 * 128 * 128}, n_core=4, clock=1.5e9),
    "tpu_v5p": Pace(
        {"bf16": 2 * 128 * 128, "fp8": 2 * 128 * 128, "int8": 4 * 128 * 128}, n_core=8, clock=1.75e9
    ),
    "groq1": Pace({"fp16": 320 * 320 / 2, "int8": 2 * 320 * 320}, n_core=4, clock=0.9e9),
    "wse2": Pace({"fp16": 8}, clock=1.1e9),
    "wse3": Pace({"bf16": 16, "fp16": 16}, clock=1.1e9),
}  # fmt: skip

#: Entry -> variant of its generation.
VARIANT = {
    "nvidia_a10": "ga102",
    "nvidia_a40": "ga102",
    "nvidia_a6000": "ga102",
    "nvidia_rtx_3090": "ga102_consumer",
    "nvidia_a10g": "a10g",
    "nvidia_h20": "h20",
    "nvidia_h20_141": "h20",
    "nvidia_rtx_4090": "ada_consumer",
    "nvidia_rtx_5090": "geforce_blackwell",
    "nvidia_l20": "l20",
    "nvidia_l40": "l40",
}

#: Entry -> its dense peak by format, where no clock is known; repeats the entry. [flop/s]
PINNED_PEAK: dict[str, dict[str, float]] = {
    "nvidia_b100": {"bf16": 1.75e15, "fp4": 7e15},
    "google_tpu_v6e": {"bf16": 918e12},
    "google_tpu_v7": {"bf16": 2307e12},
    "aws_inferentia2": {"bf16": 190e12},
    "aws_trainium2": {"bf16": 667e12, "fp8": 1299e12},
    "aws_trainium3": {"bf16": 671e12, "fp8": 2517e12, "fp4": 2517e12},
    "nvidia_vr200": {"bf16": 4e15, "fp8": 17.5e15, "fp4": 35e15},
    "sambanova_sn40l": {"bf16": 638e12},
}

#: Entries whose clock was computed from their 16-bit peak, as their notes say.
CLOCK_FROM_PEAK = (
    "nvidia_b200", "nvidia_b300", "nvidia_gb200", "nvidia_gb300", "nvidia_h100_pcie", "nvidia_h100_nvl",
    "nvidia_h200_nvl", "intel_gaudi3",
)  # fmt: skip

#: Clocks at which matrix units of any of these devices run. [1/s]
CLOCK = (0.8e9, 2.8e9)

#: Format, reference format -> usual ratio of their dense peaks.
RATIO = {
    ("tf32", "bf16"): 0.5,
    ("fp16", "bf16"): 1.0,
    ("fp8", "bf16"): 2.0,
    ("int8", "bf16"): 2.0,
    ("int8", "fp16"): 2.0,
    ("fp6", "fp8"): 1.0,
    ("fp4", "fp8"): 2.0,
    ("int4", "int8"): 2.0,
}

#: Generation or variant -> ratios that differ, each for the reason given.
RATIO_OF: dict[str, dict[tuple[str, str], float]] = {
    # 16-bit products accumulated in fp32 run at half rate on consumer parts, int8 does not
    "ga102_consumer": {("int8", "bf16"): 4.0, ("int8", "fp16"): 4.0},
    "ada_consumer": {("int8", "bf16"): 4.0, ("int8", "fp16"): 4.0},
    # no int4 unit that anything uses: NVIDIA prints int4 at the rate of int8 for the L40S
    "ada": {("int4", "int8"): 1.0},
    # three times the fp4 units, almost no int8 (NVIDIA, Blackwell Ultra, 2025)
    "blackwell_ultra": {("fp4", "fp8"): 3.0, ("int8", "bf16"): 1 / 15, ("int8", "fp16"): 1 / 15},
    # the matrix cores of CDNA 2 gain nothing from int8
    "cdna2": {("int8", "bf16"): 1.0, ("int8", "fp16"): 1.0},
    # fp6 runs at the rate of fp4
    "cdna4": {("fp6", "fp8"): 2.0},
    # fp8 is stored, and multiplied as bf16
    "gaudi3": {("fp8", "bf16"): 1.0},
    "inferentia2": {("tf32", "bf16"): 1.0, ("fp8", "bf16"): 1.0},
    # 16-bit products accumulated in fp32 run at half rate, int8 and fp4 do not
    "geforce_blackwell": {("int8", "bf16"): 4.0, ("int8", "fp16"): 4.0, ("fp4", "fp8"): 4.0},
    # units for 8 bits and fewer, 16 bits as Blackwell
    "rubin": {("fp8", "bf16"): 4.375},
    "trainium2": {("tf32", "bf16"): 1.0},
    # MXFP8 and MXFP4 on an array of 512 x 128, 16 bits on 128 x 128
    "trainium3": {("tf32", "bf16"): 1.0, ("fp8", "bf16"): 3.75, ("fp4", "fp8"): 1.0},
    "tpu_v4": {("int8", "bf16"): 1.0},
    "tpu_v5p": {("fp8", "bf16"): 1.0},
    "tpu_v6e": {("fp8", "bf16"): 1.0},
    # four planes of int8 make one of fp16
    "groq1": {("int8", "fp16"): 4.0},
}

#: Entry -> pins of the memory, rate of a pin. [bit], [bit/s]
PINS: dict[str, tuple[float, float]] = {
    "nvidia_v100_sxm": (4096, 1.755e9),
    "nvidia_v100_sxm_16": (4096, 1.755e9),
    "nvidia_t4": (256, 10e9),
    "nvidia_a10": (384, 12.5e9),
    "nvidia_a10g": (384, 12.5e9),
    "nvidia_a30": (3072, 2.43e9),
    "nvidia_a40": (384, 14.5e9),
    "nvidia_a6000": (384, 16e9),
    "nvidia_rtx_3090": (384, 19.5e9),
    "nvidia_a100_40_sxm": (5120, 2.43e9),
    "nvidia_a100_40_pcie": (5120, 2.43e9),
    "nvidia_a100_sxm": (5120, 3.186e9),
    "nvidia_a100_pcie": (5120, 3.024e9),
    "nvidia_a800_sxm": (5120, 3.186e9),
    "nvidia_l4": (192, 12.5e9),
    "nvidia_l20": (384, 18e9),
    "nvidia_l40": (384, 18e9),
    "nvidia_l40s": (384, 18e9),
    "nvidia_rtx_6000_ada": (384, 20e9),
    "nvidia_rtx_4090": (384, 21e9),
    "nvidia_rtx_5090": (512, 28e9),
    "nvidia_rtx_pro_6000": (512, 28e9),
    "nvidia_gb10": (256, 8.533e9),
    "nvidia_thor": (256, 8.533e9),
    "nvidia_h100_sxm": (5120, 5.23e9),
    "nvidia_h800_sxm": (5120, 5.23e9),
    "nvidia_h100_pcie": (5120, 3.186e9),
    "nvidia_h100_nvl": (6144, 5.1e9),
    "nvidia_h20": (6144, 5.23e9),
    "nvidia_h20_141": (6144, 6.4e9),
    "nvidia_gh200": (6144, 5.23e9),
    "nvidia_gh200_144": (6144, 6.4e9),
    "nvidia_h200_sxm": (6144, 6.4e9),
    "nvidia_h200_nvl": (6144, 6.4e9),
    "nvidia_b100": (8192, 8e9),
    "nvidia_b200": (7680, 8e9),
    "nvidia_b300": (7680, 8e9),
    "nvidia_gb200": (8192, 8e9),
    "nvidia_gb300": (8192, 8e9),
    "nvidia_vr200": (16384, 10.7e9),
    "amd_mi210": (4096, 3.2e9),
    "amd_mi250": (8192, 3.2e9),
    "amd_mi250x": (8192, 3.2e9),
    "amd_mi300x": (8192, 5.2e9),
    "amd_mi325x": (8192, 6e9),
    "amd_mi350x": (8192, 8e9),
    "amd_mi355x": (8192, 8e9),
    "intel_gaudi2": (6144, 3.2e9),
    "intel_gaudi3": (8192, 3.6e9),
    "google_tpu_v4": (4096, 2.4e9),
    "google_tpu_v5e": (2048, 3.2e9),
    "google_tpu_v5p": (6144, 3.6e9),
    "google_tpu_v6e": (4096, 3.2e9),
    "google_tpu_v7": (8192, 7.2e9),
    "aws_inferentia2": (2048, 3.2e9),
    "aws_trainium2": (4096, 5.6e9),
    "aws_trainium3": (4096, 9.6e9),
}

#: Entry -> its memory bandwidth, where the pins are not known; repeats the entry. [B/s]
PINNED_BANDWIDTH = {
    "groq_lpu": 80e12,
    "cerebras_wse2": 20e15,
    "cerebras_wse3": 21e15,
    "sambanova_sn40l": 1.6e12,
}

#: Entries whose links below repeat the entry.
PINNED_LANES = ("aws_inferentia2", "aws_trainium2", "aws_trainium3", "sambanova_sn40l")

#: Entry -> scale-up links, bandwidth of one in one direction. [1], [B/s]
LANES: dict[str, tuple[int, float]] = {
    "nvidia_v100_sxm": (6, 25e9),
    "nvidia_v100_sxm_16": (6, 25e9),
    "nvidia_a30": (4, 25e9),
    "nvidia_a40": (4, 14.0625e9),
    "nvidia_a6000": (4, 14.0625e9),
    "nvidia_rtx_3090": (4, 14.0625e9),
    "nvidia_a100_40_sxm": (12, 25e9),
    "nvidia_a100_40_pcie": (12, 25e9),
    "nvidia_a100_sxm": (12, 25e9),
    "nvidia_a100_pcie": (12, 25e9),
    "nvidia_a800_sxm": (8, 25e9),
    "nvidia_gb10": (1, 25e9),
    "nvidia_h100_sxm": (18, 25e9),
    "nvidia_h100_pcie": (12, 25e9),
    "nvidia_h100_nvl": (12, 25e9),
    "nvidia_h200_sxm": (18, 25e9),
    "nvidia_h200_nvl": (18, 25e9),
    "nvidia_h20": (18, 25e9),
    "nvidia_h20_141": (18, 25e9),
    "nvidia_h800_sxm": (8, 25e9),
    "nvidia_gh200": (18, 25e9),
    "nvidia_gh200_144": (18, 25e9),
    "nvidia_b100": (18, 50e9),
    "nvidia_b200": (18, 50e9),
    "nvidia_b300": (18, 50e9),
    "nvidia_gb200": (18, 50e9),
    "nvidia_gb300": (18, 50e9),
    "nvidia_vr200": (36, 50e9),
    "amd_mi210": (3, 50e9),
    "amd_mi250": (6, 50e9),
    "amd_mi250x": (8, 50e9),
    "amd_mi300x": (7, 64e9),
    "amd_mi325x": (7, 64e9),
    "amd_mi350x": (7, 76.8e9),
    "amd_mi355x": (7, 76.8e9),
    "intel_gaudi2": (21, 12.5e9),
    "intel_gaudi3": (21, 25e9),
    "google_tpu_v4": (6, 50e9),
    "google_tpu_v5e": (4, 50e9),
    "google_tpu_v5p": (6, 100e9),
    "google_tpu_v6e": (4, 100e9),
    "google_tpu_v7": (6, 100e9),
    "aws_inferentia2": (2, 48e9),
    "aws_trainium2": (5, 128e9),
    "aws_trainium3": (5, 256e9),
    "groq_lpu": (16, 15e9),
    "cerebras_wse2": (12, 12.5e9),
    "cerebras_wse3": (12, 12.5e9),
    "sambanova_sn40l": (1, 100e9),
}

#: Generation -> links to the host, one direction: PCIe 3, 4, 5 x16 after line coding (TPU: as printed, before
#: it), two PCIe 4 x16 for two dies in a package, NVLink-C2C alone and shared by two, twelve 100 Gb/s ports. [B/s]
HOST: dict[str, tuple[float, ...]] = {
    "volta": (15.75e9,),
    "turing": (15.75e9,),
    "ampere": (31.5e9,),
    "ada": (31.5e9,),
    "hopper": (63e9, 450e9),
    "blackwell": (63e9, 225e9),
    "blackwell_ultra": (63e9, 225e9),
    "blackwell_consumer": (63e9,),
    "rubin": (450e9,),
    "cdna2": (31.5e9, 63e9),
    "cdna3": (63e9,),
    "cdna4": (63e9,),
    "gaudi2": (31.5e9,),
    "gaudi3": (63e9,),
    "tpu_v4": (15.75e9,),
    "tpu_v5e": (16e9,),
    "tpu_v5p": (16e9,),
    "tpu_v6e": (32e9,),
    "groq1": (31.5e9,),
    "wse2": (150e9,),
    "wse3": (150e9,),
}

#: Makers whose data sheets give the memory in GiB, whatever they write.
GIB_MAKERS = ("Google", "AWS", "GenZ paper")
#: Their entries whose sheet is taken at its word.
GB_ENTRIES = ("google_tpu_v5e",)

#: (entry, rule, field) -> true reason why the rule does not hold.
EXCEPTIONS: dict[tuple[str, str, str], str] = {
    ("nvidia_h20", "peak_from_clock", "peak_flop_rate.fp64"): "cut to 1 Tflop/s for export",
    ("nvidia_h20_141", "peak_from_clock", "peak_flop_rate.fp64"): "cut to 1 Tflop/s for export",
    ("nvidia_h800_sxm", "peak_from_clock", "peak_flop_rate.fp64"): "cut to 1 Tflop/s for export",
    ("nvidia_l40s", "peak_from_clock", "peak_flop_rate.int4"): "printed at the rate of int8",
    ("nvidia_thor", "ridge_point", "peak_flop_rate"): "matrix units of a server beside LPDDR5X",
}
