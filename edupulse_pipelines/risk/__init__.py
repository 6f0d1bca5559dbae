"""Risk: who is in the cohort, what happened to them, what a model learns from it, and what it says about whom.

Lives here, each word in its own module. What is learned from: `cohorts` (who can be scored, feature matrix), `labels`
(adverse events within the horizon), `feedback` (educators' verdicts, proposals for review), `samples` and `splits`
(what was known when, which weeks train and which validate). Models: `model` (logistic regression, and what all
candidates have in common), `additive`, `boosting`, `tuning` (which configuration of which candidate), `baseline` (the
attendance-behaviour-course rule). Judging: `evaluation` (metrics), `leakage` (the proof that the future does not move
the past), `promotion` (the gate), `confidence`, `drift` and `health` (how the model in use is doing), `retraining`.
In words and pictures: `factors` (the registry of risk factors), `explanations`, `model_card`, `model_plots`,
`calibration_plot`, `reports`. MLflow: `registry`, `mirror` (whether it agrees with `model_metadata`, and how to mend
it), `champion` (who it is). `training` and `scoring` put them together.

Does not live here: how features are computed (`features`), when anything runs (`orchestration`). A student's grade
level, gender, ethnicity and socioeconomic status are never inputs of a model. "Not enough data" and "no model" are
outcomes with a reason, never a made-up score.
"""
