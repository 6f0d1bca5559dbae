CREATE TABLE retention_removals (
    tenant_id VARCHAR(50) NOT NULL,
    student_id CHAR(32) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    through DATE NOT NULL,
    removed_at DATETIME,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_retention_removals PRIMARY KEY (student_id, table_name),
    CONSTRAINT fk_retention_removals_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_retention_removals_table_name ON retention_removals (tenant_id, table_name)

--;

CREATE INDEX ix_retention_removals_change_id ON retention_removals (change_id)

--;

CREATE TABLE retention_certificates (
    id CHAR(32) DEFAULT (lower(hex(randomblob(16)))) NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    signed_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    executed_by VARCHAR(255) NOT NULL,
    approved_by VARCHAR(255) NOT NULL,
    reason TEXT NOT NULL,
    document JSON NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    change_id BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_retention_certificates PRIMARY KEY (id)
)

--;

CREATE INDEX ix_retention_certificates_signed_at ON retention_certificates (tenant_id, signed_at)

--;

CREATE INDEX ix_retention_certificates_change_id ON retention_certificates (change_id)
