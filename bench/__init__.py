"""The benchmark: depthwise-separable workloads, every CPU peer in its best form, one honest run.

`python -m bench --help` lists the commands; docs/benchmarking.md says how to read the figures.
"""
