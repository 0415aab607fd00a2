"""Ask what each number of the hardware is worth, and how little of it would do."""

import genz


def main() -> None:
    """Print elasticities of the latency, then the least platform that meets limits."""
    parallel = genz.Parallel(tensor=8)
    worth = genz.elasticity(
        genz.generate,
        "llama3_70b",
        "h100_sxm_8",
        batch=16,
        prompt=2000,
        output=300,
        parallel=parallel,
    )
    print("1 % more of it changes the time by so many %:")
    print(worth[["number", "ttft", "tpot", "latency"]].round(3).to_string(index=False))

    least = genz.requirements(
        "llama3_70b",
        genz.Workload.of(prompt=2000, output=300),
        genz.Objective(ttft=1.0, tpot=0.020),
        batch=16,
        parallel=parallel,
    )
    print("\nper accelerator, the rest unlimited:")
    print(least.to_frame()[["number", "value", "unit", "binding"]].to_string(index=False))


if __name__ == "__main__":
    main()
