ALTER TABLE ingested_files ADD COLUMN rows_erased BIGINT DEFAULT 0 NOT NULL

--;

CREATE TABLE disclosures (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    subject_hash VARCHAR(64),
    disclosed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    disclosed_by VARCHAR(255) NOT NULL,
    recipient VARCHAR(255) NOT NULL,
    purpose TEXT NOT NULL,
    legal_basis VARCHAR(255) NOT NULL,
    files JSONB NOT NULL,
    counts JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_disclosures PRIMARY KEY (id),
    CONSTRAINT ck_disclosures_kind_values CHECK (kind IN ('inspection', 'research', 'aggregates'))
)

--;

CREATE INDEX ix_disclosures_disclosed_at ON disclosures (tenant_id, disclosed_at)

--;

CREATE TABLE erasures (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    number_hash VARCHAR(64) NOT NULL,
    reason TEXT NOT NULL,
    erased_by VARCHAR(255) NOT NULL,
    approved_by VARCHAR(255) NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    done_at TIMESTAMP WITH TIME ZONE,
    counts JSONB DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_erasures PRIMARY KEY (id),
    CONSTRAINT uq_erasures_number_hash UNIQUE (tenant_id, number_hash),
    CONSTRAINT uq_erasures_id UNIQUE (tenant_id, id)
)

--;

CREATE TABLE erased_keys (
    tenant_id VARCHAR(50) NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    erasure_id UUID NOT NULL,
    CONSTRAINT pk_erased_keys PRIMARY KEY (tenant_id, key_hash),
    CONSTRAINT fk_erased_keys_erasures FOREIGN KEY(tenant_id, erasure_id) REFERENCES erasures (tenant_id, id) ON DELETE RESTRICT
)

--;

CREATE TABLE legal_holds (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    reason TEXT NOT NULL,
    placed_by VARCHAR(255) NOT NULL,
    placed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    released_by VARCHAR(255),
    released_at TIMESTAMP WITH TIME ZONE,
    in_force BOOLEAN NOT NULL,
    CONSTRAINT pk_legal_holds PRIMARY KEY (id)
)

--;

CREATE UNIQUE INDEX uq_legal_holds_in_force ON legal_holds (tenant_id, district_id) WHERE in_force
