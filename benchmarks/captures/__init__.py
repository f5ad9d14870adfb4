"""The default training on captures of kinds that rooms filmed all round are not: `python -m benchmarks.captures`."""
