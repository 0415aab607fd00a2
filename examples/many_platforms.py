"""Evaluate 200 platforms at once, to see how much memory bandwidth is enough."""

import numpy as np

import genz


def main() -> None:
    """Print time per token against memory bandwidth, and where more of it stops paying."""
    bandwidth = np.linspace(1e12, 12e12, 200)
    platform = genz.platform("h100_sxm_8").replace(memory_bandwidth=bandwidth)
    step = genz.decode(
        "llama3_70b", platform, batch=32, context=4096, parallel=genz.Parallel(tensor=8)
    )
    for index in range(0, bandwidth.size, 33):
        print(
            f"{bandwidth[index] / 1e12:5.2f} TB/s: {1e3 * step.time[index]:6.2f} ms, "
            f"bound by {step.bound[index]}"
        )
    enough = bandwidth[step.time <= 1.1 * step.time.min()].min()
    print(f"within 10 % of the best from {enough / 1e12:.2f} TB/s on")


if __name__ == "__main__":
    main()
