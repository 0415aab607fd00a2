"""Published points of `genz.paper.genz_serving`: two of each curve.

Source: arXiv 2406.01698 v1, section 5.A, authors' figure notebooks (repository
abhibambhaniya/GenZ-LLM-Analyzer, MIT, commit a90f48a), rounded to four digits. The facet of output
lengths has no published series.
"""

from __future__ import annotations

__all__ = ["POINTS"]

#: Facet -> model, setting, time per token or latency [s], tokens or requests per second.
POINTS: dict[str, tuple[tuple[str, str, float, float], ...]] = {
    "beams": (
        ("LLaMA2-7B", "1 beam", 0.002832, 5296.0),
        ("LLaMA2-7B", "1 beam", 0.005394, 7230.0),
        ("LLaMA2-7B", "2 beams", 0.002935, 5111.0),
        ("LLaMA2-7B", "2 beams", 0.005661, 6889.0),
        ("LLaMA2-7B", "4 beams", 0.00314, 4777.0),
        ("LLaMA2-7B", "4 beams", 0.006195, 6296.0),
        ("LLaMA2-7B", "8 beams", 0.00355, 4225.0),
        ("LLaMA2-7B", "8 beams", 0.007262, 5371.0),
        ("Mixtral-8x7B", "1 beam", 0.002811, 5337.0),
        ("Mixtral-8x7B", "1 beam", 0.003471, 11240.0),
        ("Mixtral-8x7B", "2 beams", 0.003223, 4653.0),
        ("Mixtral-8x7B", "2 beams", 0.004544, 8582.0),
        ("Mixtral-8x7B", "4 beams", 0.004049, 3705.0),
        ("Mixtral-8x7B", "4 beams", 0.006691, 5829.0),
        ("Mixtral-8x7B", "8 beams", 0.0057, 2632.0),
        ("Mixtral-8x7B", "8 beams", 0.01098, 3551.0),
        ("LLaMA3-70B", "1 beam", 0.01406, 1067.0),
        ("LLaMA3-70B", "1 beam", 0.01574, 2478.0),
        ("LLaMA3-70B", "2 beams", 0.01511, 992.7),
        ("LLaMA3-70B", "2 beams", 0.01847, 2112.0),
        ("LLaMA3-70B", "4 beams", 0.01721, 871.6),
        ("LLaMA3-70B", "4 beams", 0.02393, 1630.0),
        ("LLaMA3-70B", "8 beams", 0.02141, 700.7),
        ("LLaMA3-70B", "8 beams", 0.02701, 925.7),
    ),
    "input": (
        ("LLaMA2-7B", "2,000 tokens in", 0.9114, 16.46),
        ("LLaMA2-7B", "2,000 tokens in", 1.865, 20.91),
        ("LLaMA2-7B", "4,000 tokens in", 1.415, 10.6),
        ("LLaMA2-7B", "4,000 tokens in", 3.176, 12.28),
        ("LLaMA2-7B", "6,000 tokens in", 1.937, 7.745),
        ("LLaMA2-7B", "6,000 tokens in", 4.532, 8.606),
        ("LLaMA2-7B", "8,000 tokens in", 2.474, 6.063),
        ("LLaMA2-7B", "8,000 tokens in", 5.928, 6.578),
        ("Mixtral-8x7B", "2,000 tokens in", 1.236, 12.14),
        ("Mixtral-8x7B", "2,000 tokens in", 2.231, 17.48),
        ("Mixtral-8x7B", "4,000 tokens in", 1.837, 8.167),
        ("Mixtral-8x7B", "4,000 tokens in", 3.793, 10.28),
        ("Mixtral-8x7B", "6,000 tokens in", 2.454, 6.113),
        ("Mixtral-8x7B", "6,000 tokens in", 5.397, 7.226),
        ("Mixtral-8x7B", "8,000 tokens in", 3.086, 4.86),
        ("Mixtral-8x7B", "8,000 tokens in", 7.043, 5.538),
        ("LLaMA3-70B", "2,000 tokens in", 5.483, 2.736),
        ("LLaMA3-70B", "2,000 tokens in", 8.928, 4.368),
        ("LLaMA3-70B", "4,000 tokens in", 7.613, 1.97),
        ("LLaMA3-70B", "4,000 tokens in", 11.89, 2.522),
        ("LLaMA3-70B", "6,000 tokens in", 3.763, 0.2657),
        ("LLaMA3-70B", "6,000 tokens in", 11.99, 1.669),
        ("LLaMA3-70B", "8,000 tokens in", 3.916, 0.2554),
        ("LLaMA3-70B", "8,000 tokens in", 12.11, 1.239),
    ),
    "quantization": (
        ("LLaMA2-7B", "fp4", 0.4557, 32.92),
        ("LLaMA2-7B", "fp4", 0.9327, 41.81),
        ("LLaMA2-7B", "fp8", 0.9114, 16.46),
        ("LLaMA2-7B", "fp8", 1.865, 20.91),
        ("LLaMA2-7B", "bf16", 1.823, 8.229),
        ("LLaMA2-7B", "bf16", 3.731, 10.45),
        ("Mixtral-8x7B", "fp4", 0.618, 24.27),
        ("Mixtral-8x7B", "fp4", 1.116, 34.95),
        ("Mixtral-8x7B", "fp8", 1.236, 12.14),
        ("Mixtral-8x7B", "fp8", 2.231, 17.48),
        ("Mixtral-8x7B", "bf16", 2.472, 6.068),
        ("Mixtral-8x7B", "bf16", 4.463, 8.739),
        ("LLaMA3-70B", "fp4", 2.742, 5.471),
        ("LLaMA3-70B", "fp4", 4.464, 8.737),
        ("LLaMA3-70B", "fp8", 5.483, 2.736),
        ("LLaMA3-70B", "fp8", 8.928, 4.368),
        ("LLaMA3-70B", "bf16", 6.948, 0.1439),
        ("LLaMA3-70B", "bf16", 8.096, 0.6176),
    ),
}
