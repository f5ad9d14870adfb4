"""Entry point of `python -m benchmarks.captures`."""

from benchmarks.captures.run import main

if __name__ == "__main__":
    main()
