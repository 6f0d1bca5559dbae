ALTER TABLE model_metadata ADD COLUMN data_through DATE

--;

ALTER TABLE model_metadata ADD COLUMN data_hash VARCHAR(64)

--;

ALTER TABLE model_metadata ADD COLUMN settings_hash VARCHAR(64)

--;

ALTER TABLE model_metadata ADD COLUMN promoted BOOLEAN DEFAULT false NOT NULL

--;

ALTER TABLE model_metadata ADD COLUMN set_aside BOOLEAN DEFAULT false NOT NULL

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
        WHEN hyperparameters ->> 'data_through' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'
        THEN (hyperparameters ->> 'data_through')::date
    END,
    data_hash = hyperparameters ->> 'data_hash',
    settings_hash = hyperparameters ->> 'settings_hash',
    promoted = coalesce(hyperparameters -> 'promoted' = 'true'::jsonb, false),
    set_aside = coalesce(hyperparameters -> 'mlflow' -> 'lost' = 'true'::jsonb, false),
    mlflow_run_id = hyperparameters -> 'mlflow' ->> 'run_id',
    mlflow_model_id = hyperparameters -> 'mlflow' ->> 'model_id',
    registered_model = hyperparameters -> 'mlflow' ->> 'registered_model',
    registry_version = hyperparameters -> 'mlflow' ->> 'registry_version',
    artifact_sha256 = hyperparameters -> 'mlflow' ->> 'artifact_sha256',
    artifact_uri = hyperparameters -> 'mlflow' ->> 'artifact_uri',
    hyperparameters = hyperparameters - ARRAY['data_through', 'data_hash', 'settings_hash', 'promoted', 'mlflow']
WHERE jsonb_typeof(hyperparameters) = 'object'