"""Risk: who is in the cohort, what happened to them, what a model learns from it, and what it says about whom.

Rooms: `samples` (what is learned from), `models` (what is fitted), `judging` (how good it is, and whether it may be
used), `telling` (the same in words and pictures), `book` (which models there are: MLflow, `model_metadata`, the
champion). `training` and `scoring` put them together; `health` measures every week how the model in use is doing.
What the weekly job calls is in `weekly`.

Does not live here: how features are computed (`features`), when anything runs (`orchestration`). A student's grade
level, gender, ethnicity and socioeconomic status are never inputs of a model. "Not enough data" and "no model" are
outcomes with a reason, never a made-up score.
"""
