CREATE TABLE step_accounts (
    tenant_id VARCHAR(50) NOT NULL,
    run_id VARCHAR(50) NOT NULL,
    step VARCHAR(50) NOT NULL,
    part VARCHAR(10) NOT NULL,
    account JSON NOT NULL,
    created_at DATETIME DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_step_accounts PRIMARY KEY (tenant_id, run_id, step, part)
)
