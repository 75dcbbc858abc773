"""Speed as ratios: this library, bare Python loops and the peers, measured side by side in one run."""
