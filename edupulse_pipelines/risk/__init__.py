"""Risk: who is in the cohort, what happened to them, what a model learns from it, and what it says about whom.

Lives here, each word in its own module: `cohorts` (who can be scored, feature matrix), `labels` (adverse events within
the horizon), `splits` (temporal splits), `baseline` (the attendance-behaviour-course rule), `model` (calibrated
logistic regression with exact contributions), `evaluation` (metrics), `explanations` (risk factors in words),
`registry` (MLflow, and whether it agrees with `model_metadata`), `training` and `scoring`, which put them together.

Does not live here: how features are computed (`features`), when anything runs (`orchestration`). A student's grade
level, gender, ethnicity and socioeconomic status are never inputs of a model. "Not enough data" and "no model" are
outcomes with a reason, never a made-up score.
"""
