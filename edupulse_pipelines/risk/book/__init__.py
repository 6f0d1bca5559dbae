"""Which models there are: the versions in MLflow, their rows in `model_metadata`, and which one is champion.

`registry`: MLflow, which is imported here alone. `run_contents`: what the MLflow run of a training holds beside its
model. `mlflow_pages`: links to MLflow's pages. `mirror`: whether MLflow and the database agree, and how to mend
it. `champion`: which model is in use; it is changed nowhere else.
"""
