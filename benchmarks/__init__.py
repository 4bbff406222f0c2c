"What is claimed to be fast, measured: `make bench`, or `python -m benchmarks review training scale`."
