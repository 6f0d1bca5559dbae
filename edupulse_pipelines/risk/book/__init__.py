"""Which models there are: the versions in MLflow, their rows in `model_metadata`, and which one is champion.

`registry`: what is logged and registered in MLflow, and read back. `mlflow_connection`: how MLflow is reached, and what
its failures mean. `model_files`: a model's files, checked and loaded. `run_contents`: what the MLflow run of a training
holds beside its model. `code_revision`: the commit that made it. `mlflow_pages`: links to MLflow's pages. `mirror`:
whether MLflow and the database agree, and how to mend it. `champion`: which model is in use; it is changed nowhere
else.
"""
