"""Benchmarks: each module measures every side of one question in one run.

`python -m edupulse_pipelines_tests.benchmarks NAME`.
"""
