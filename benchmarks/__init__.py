"""Where the figures of the README come from: named peers, ratios, one machine, one run."""
