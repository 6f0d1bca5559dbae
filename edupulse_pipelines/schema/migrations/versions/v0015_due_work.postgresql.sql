ALTER TABLE grades ADD COLUMN assignment_id VARCHAR(100)

--;

ALTER TABLE grades ADD COLUMN due_date DATE
