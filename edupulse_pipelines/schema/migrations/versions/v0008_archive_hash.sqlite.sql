ALTER TABLE ingested_files ADD COLUMN archive_sha256 VARCHAR(64)
