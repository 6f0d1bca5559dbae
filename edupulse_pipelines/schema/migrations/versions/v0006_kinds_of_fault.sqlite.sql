ALTER TABLE ingested_files ADD COLUMN landed_state VARCHAR(64)

--;

ALTER TABLE ingested_files ADD COLUMN removals JSON

--;

ALTER TABLE ingested_files ADD COLUMN rows_by_week JSON

--;

INSERT INTO pending_updates (id, tenant_id, stage, student_id, week_start)
SELECT lower(hex(randomblob(16))), tenant_id, 'student_features', NULL, '1970-01-05'
FROM ingested_files
GROUP BY tenant_id

--;

CREATE TABLE accepted_removals (
    tenant_id VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    accepted_by VARCHAR(255),
    accepted_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_accepted_removals PRIMARY KEY (tenant_id, delivered_on)
)

--;

ALTER TABLE quarantined_records ADD COLUMN accepted_at DATETIME

--;

ALTER TABLE quarantined_records ADD COLUMN accepted_by VARCHAR(255)

--;

ALTER TABLE quarantined_records ADD COLUMN accepted_reason TEXT

--;

CREATE TABLE disputed_numbers (
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    since DATE NOT NULL,
    until DATE,
    CONSTRAINT pk_disputed_numbers PRIMARY KEY (tenant_id, district_id, since)
)

--;

CREATE TABLE student_merges (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    old_number VARCHAR(50) NOT NULL,
    new_number VARCHAR(50) NOT NULL,
    reason TEXT NOT NULL,
    merged_by VARCHAR(255),
    merged_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    undone_by VARCHAR(255),
    undone_at DATETIME,
    in_force BOOLEAN NOT NULL,
    moved JSON,
    CONSTRAINT pk_student_merges PRIMARY KEY (id)
)

--;

CREATE INDEX ix_student_merges_new_number ON student_merges (tenant_id, new_number)

--;

CREATE UNIQUE INDEX uq_student_merges_in_force ON student_merges (tenant_id, old_number) WHERE in_force