"""Measure the cost of a decision of each example policy, in microseconds: python examples/policy_cost.py"""

import importlib.util
import pathlib

import sgl_router

FOLDER = pathlib.Path(__file__).parent / "policies"
GAPS = {"back to back": 0.0, "10,000/s": 1e-4, "1,000/s": 1e-3, "100/s": 1e-2}


@sgl_router.register_policy
class First(sgl_router.Policy):
    """The first worker, always: measures the overhead of the call itself."""

    def select(self, request, workers):
        return 0


def main(decisions=5000):
    """Print a table with a row for each policy and a column for each rate."""
    for path in sorted(FOLDER.glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    print("| policy, 8 workers | " + " | ".join(GAPS) + " |")
    print("|---" * (1 + len(GAPS)) + "|")
    for name in ("first", "fewest_waiting", "gradient", "epsilon_greedy", "softmin"):
        cells = []
        for gap in GAPS.values():
            enough = max(10, int(min(decisions, 2 / gap if gap else decisions)))
            cost = sgl_router.measure_policy(name, decisions=enough, gap_secs=gap)
            cells.append(f"{cost.p50 * 1e6:.0f} ({cost.mean * 1e6:.0f}, {cost.p99 * 1e6:.0f}), {cost.missed} missed")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
