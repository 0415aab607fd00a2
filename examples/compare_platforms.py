"""Compare named platforms over batch sizes: one table for all of them."""

import genz

PLATFORMS = ["a100_sxm_8", "h100_sxm_8", "h200_sxm_8", "b200_8", "mi300x_8"]


def main() -> None:
    """Print the cheapest batch of each platform that keeps 30 ms per token."""
    table = genz.sweep(
        genz.generate,
        model="llama3_70b",
        platform=PLATFORMS,
        batch=[1, 4, 16, 64, 256],
        prompt=2000,
        output=300,
        parallel=genz.Parallel(tensor=8),
    )
    table["cost_per_million_token"] = 1e6 * table.cost_per_token
    allowed = table[table.feasible & (table.tpot <= 0.030)]
    best = allowed.sort_values("cost_per_token").drop_duplicates("platform")
    print(best[["platform", "batch", "ttft", "tpot", "cost_per_million_token"]].to_string())


if __name__ == "__main__":
    main()
