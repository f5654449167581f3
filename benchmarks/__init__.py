"""The benchmarks behind the README's figures: ratios to named peers, measured in one run."""
