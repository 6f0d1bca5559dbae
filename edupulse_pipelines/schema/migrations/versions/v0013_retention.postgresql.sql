CREATE TABLE retention_removals (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    through DATE NOT NULL,
    removed_at TIMESTAMP WITH TIME ZONE,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_retention_removals PRIMARY KEY (student_id, table_name),
    CONSTRAINT fk_retention_removals_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE INDEX ix_retention_removals_table_name ON retention_removals (tenant_id, table_name)

--;

CREATE TABLE retention_certificates (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    signed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    executed_by VARCHAR(255) NOT NULL,
    approved_by VARCHAR(255) NOT NULL,
    reason TEXT NOT NULL,
    document JSON NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_retention_certificates PRIMARY KEY (id)
)

--;

CREATE INDEX ix_retention_certificates_signed_at ON retention_certificates (tenant_id, signed_at)
