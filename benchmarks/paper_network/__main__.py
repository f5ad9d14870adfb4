"""Entry point of `python -m benchmarks.paper_network`."""

from benchmarks.paper_network.run import main

if __name__ == "__main__":
    main()
