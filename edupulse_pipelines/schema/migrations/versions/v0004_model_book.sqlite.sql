ALTER TABLE model_metadata ADD COLUMN data_through DATE

--;

ALTER TABLE model_metadata ADD COLUMN data_hash VARCHAR(64)

--;

ALTER TABLE model_metadata ADD COLUMN settings_hash VARCHAR(64)

--;

ALTER TABLE model_metadata ADD COLUMN promoted BOOLEAN DEFAULT 0 NOT NULL

--;

ALTER TABLE model_metadata ADD COLUMN set_aside BOOLEAN DEFAULT 0 NOT NULL

--;

ALTER TABLE model_metadata ADD COLUMN mlflow_run_id VARCHAR(64)

--;

ALTER TABLE model_metadata ADD COLUMN mlflow_model_id VARCHAR(64)

--;

ALTER TABLE model_metadata ADD COLUMN registered_model VARCHAR(255)

--;

ALTER TABLE model_metadata ADD COLUMN registry_version VARCHAR(20)

--;

ALTER TABLE model_metadata ADD COLUMN artifact_sha256 VARCHAR(64)

--;

ALTER TABLE model_metadata ADD COLUMN artifact_uri TEXT

--;

UPDATE model_metadata SET
    data_through = CASE
        WHEN json_extract(hyperparameters, '$.data_through') GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'
        THEN json_extract(hyperparameters, '$.data_through')
    END,
    data_hash = json_extract(hyperparameters, '$.data_hash'),
    settings_hash = json_extract(hyperparameters, '$.settings_hash'),
    promoted = coalesce(json_type(hyperparameters, '$.promoted') = 'true', 0),
    set_aside = coalesce(json_type(hyperparameters, '$.mlflow.lost') = 'true', 0),
    mlflow_run_id = json_extract(hyperparameters, '$.mlflow.run_id'),
    mlflow_model_id = json_extract(hyperparameters, '$.mlflow.model_id'),
    registered_model = json_extract(hyperparameters, '$.mlflow.registered_model'),
    registry_version = json_extract(hyperparameters, '$.mlflow.registry_version'),
    artifact_sha256 = json_extract(hyperparameters, '$.mlflow.artifact_sha256'),
    artifact_uri = json_extract(hyperparameters, '$.mlflow.artifact_uri'),
    hyperparameters = json_remove(
        hyperparameters, '$.data_through', '$.data_hash', '$.settings_hash', '$.promoted', '$.mlflow'
    )
WHERE json_type(hyperparameters) = 'object'