"""Size a service from the config.json of its model: which machines, how many, at what cost."""

from pathlib import Path

import genz


def main() -> None:
    """Rank the plans for 8 requests per second of Llama-3.1-70B within limits."""
    model = genz.model_from_huggingface(Path(__file__).with_name("config.json"))
    answer = genz.size(
        model,
        genz.Workload.of(prompt=2000, output=300),
        genz.Objective(rate=8.0, ttft=1.0, tpot=0.050),
    )
    print(answer.explain(), end="\n\n")
    table = answer.to_frame().head(8)
    print(table[["platform", "n_accelerator", "parallel", "precision", "cost_per_million_token"]])


if __name__ == "__main__":
    main()
