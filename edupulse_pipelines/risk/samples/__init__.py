"""What models learn from: students of past weeks, and what happened to them afterwards.

`cohorts`: who can be scored in a week, and the matrix of features a model sees. `labels`: adverse events within the
horizon. `feedback`: educators' verdicts as labels, and predictions proposed for review. `splits`: which weeks train and
which validate. `assembly`: all of it put together for the weeks a training asks for. Fits nothing.
"""
