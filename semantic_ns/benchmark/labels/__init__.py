"""The benchmark of few and noisy labels: tables and plots in the shape of those of the paper."""
