"""Which models there are: the versions in MLflow, their rows in `model_metadata`, and which one is champion.

`registry`: MLflow, the only module that imports it. `mirror`: whether MLflow and the database agree, and how to mend
it. `champion`: which model is in use; it is changed nowhere else.
"""
