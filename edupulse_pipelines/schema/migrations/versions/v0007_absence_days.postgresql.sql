ALTER TABLE attendance_records
    ADD COLUMN minutes_absent INTEGER
        CONSTRAINT ck_attendance_records_minutes_absent_range CHECK (minutes_absent >= 0 AND minutes_absent <= 1440),
    ADD COLUMN minutes_possible INTEGER
        CONSTRAINT ck_attendance_records_minutes_possible_range CHECK (minutes_possible >= 1 AND minutes_possible <= 1440),
    ADD COLUMN field_deliveries JSONB

--;

ALTER TABLE weekly_activity ADD COLUMN days_enrolled INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_present INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_absent INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_excused INTEGER

--;

ALTER TABLE weekly_activity ADD COLUMN days_missed DOUBLE PRECISION

--;

ALTER TABLE weekly_activity ADD COLUMN days_basis VARCHAR(20)

--;

ALTER TABLE model_metadata ADD COLUMN label_hash VARCHAR(64)
