"""What is fitted: the candidates for a district's risk model. Arrays in, numbers out; no database, no MLflow.

`model`: the logistic regression, and what all candidates have in common. `additive` and `boosting`: the candidates made
of boosted trees. `tuning`: which configuration of which candidate is taken. `baseline`: the
attendance-behaviour-course rule, which every model is compared with. `sklearn_private`: the parts of scikit-learn that
it does not promise to keep, used here alone.
"""
