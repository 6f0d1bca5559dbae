-- The schema of EduPulse on PostgreSQL.
-- Generated from edupulse_pipelines/schema/ by `make sql`; do not edit.

CREATE OR REPLACE FUNCTION edupulse_touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are added and never changed or removed', TG_TABLE_NAME USING ERRCODE = '23001';
END
$$;

-- Let nobody see or change the rows of a table, not even its owner, but where a policy lets them; and let the owner by a
-- policy of its own: what it checks as the owner (a foreign key, a migration's UPDATE) would otherwise see no row.
CREATE OR REPLACE FUNCTION edupulse_guard_rows(guarded text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    relation pg_class%ROWTYPE;
BEGIN
    SELECT * INTO STRICT relation FROM pg_class WHERE oid = to_regclass(quote_ident(guarded));
    IF NOT (relation.relrowsecurity AND relation.relforcerowsecurity) THEN
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', guarded);
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_policy
        WHERE polrelid = relation.oid AND polname = 'edupulse_owner' AND polroles = ARRAY[relation.relowner]
          AND polcmd = '*' AND polpermissive
          AND pg_get_expr(polqual, polrelid) = 'true' AND pg_get_expr(polwithcheck, polrelid) = 'true'
    ) THEN
        EXECUTE format('DROP POLICY IF EXISTS edupulse_owner ON %I', guarded);
        EXECUTE format('CREATE POLICY edupulse_owner ON %I TO %I USING (true) WITH CHECK (true)',
                       guarded, pg_get_userbyid(relation.relowner));
    END IF;
END
$$;

-- Guard a table, its partitions, and the months that are detached from it. Policies of a table do not hold where one of
-- its partitions is named, so that on these nobody but the owner has a privilege.
CREATE OR REPLACE FUNCTION edupulse_guard(parent text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    part record;
BEGIN
    PERFORM edupulse_guard_rows(parent);
    FOR part IN
        SELECT c.relname AS name, a.grantee
        FROM pg_class c LEFT JOIN aclexplode(c.relacl) a ON a.grantee <> c.relowner
        WHERE c.relkind = 'r' AND c.relnamespace = (
            SELECT relnamespace FROM pg_class WHERE oid = to_regclass(quote_ident(parent))
        ) AND (
            EXISTS (
                SELECT FROM pg_inherits WHERE inhrelid = c.oid AND inhparent = to_regclass(quote_ident(parent))
            ) OR c.relname ~ ('^' || parent || '_y\d{4}m(0[1-9]|1[0-2])$')
        )
        GROUP BY 1, 2 ORDER BY 1, 2
    LOOP
        PERFORM edupulse_guard_rows(part.name);
        IF part.grantee IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON %I FROM %s', part.name,
                           CASE part.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(part.grantee)) END);
        END IF;
    END LOOP;
END
$$;

CREATE TABLE students (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    first_name VARCHAR(100) NOT NULL,
    last_name VARCHAR(100) NOT NULL,
    grade_level INTEGER,
    date_of_birth DATE NOT NULL,
    gender VARCHAR(10),
    ethnicity VARCHAR(100),
    socioeconomic_status VARCHAR(50),
    gpa DOUBLE PRECISION,
    attendance_rate DOUBLE PRECISION,
    parent_contact VARCHAR(200),
    enrollment_date DATE DEFAULT CURRENT_DATE NOT NULL,
    exit_date DATE,
    exit_type VARCHAR(20),
    student_metadata JSONB DEFAULT '{}',
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    CONSTRAINT pk_students PRIMARY KEY (id),
    CONSTRAINT ck_students_grade_level_range CHECK (grade_level >= 0 AND grade_level <= 12),
    CONSTRAINT ck_students_gpa_range CHECK (gpa >= 0 AND gpa <= 5),
    CONSTRAINT ck_students_attendance_rate_range CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    CONSTRAINT ck_students_exit_type_values CHECK (exit_type IN ('completed', 'transferred', 'dropped_out', 'failed', 'other')),
    CONSTRAINT uq_students_district_id UNIQUE (tenant_id, district_id),
    CONSTRAINT uq_students_id UNIQUE (tenant_id, id)
);

CREATE INDEX ix_students_enrollment_date ON students (tenant_id, enrollment_date);

CREATE INDEX ix_students_grade_level ON students (tenant_id, grade_level);

COMMENT ON TABLE students IS 'Central table of students: demographics and enrolment.';

COMMENT ON COLUMN students.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN students.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN students.district_id IS 'The student''s number within the district.';

COMMENT ON COLUMN students.first_name IS 'Given name.';

COMMENT ON COLUMN students.last_name IS 'Family name.';

COMMENT ON COLUMN students.grade_level IS 'Current grade, 0 (kindergarten) to 12.';

COMMENT ON COLUMN students.date_of_birth IS 'Date of birth.';

COMMENT ON COLUMN students.gender IS 'Gender as recorded.';

COMMENT ON COLUMN students.ethnicity IS 'Ethnicity as recorded; for equity analysis only.';

COMMENT ON COLUMN students.socioeconomic_status IS 'Socioeconomic status as recorded; for equity analysis only.';

COMMENT ON COLUMN students.gpa IS 'Grade point average as delivered: an undated snapshot, stored and never a feature.';

COMMENT ON COLUMN students.attendance_rate IS 'Attendance rate as delivered: an undated snapshot, stored and never a feature.';

COMMENT ON COLUMN students.parent_contact IS 'How to reach a parent or guardian.';

COMMENT ON COLUMN students.enrollment_date IS 'Newest first day of enrolment that was sent; the first delivery''s date when the district does not say. For people: what is computed comes from `enrollments`.';

COMMENT ON COLUMN students.exit_date IS 'Newest first day of being enrolled no more that was sent; for people, as the enrollment date.';

COMMENT ON COLUMN students.exit_type IS 'Why the student left.';

COMMENT ON COLUMN students.student_metadata IS 'Further facts of the district, as a JSON object.';

COMMENT ON COLUMN students.delivered_on IS 'Date of the newest delivery that held this record.';

COMMENT ON COLUMN students.field_deliveries IS 'For fields that the newest delivery did not carry: the date of the newest delivery that did (null: none yet). NULL when every field is as new as the row; it keeps the result independent of the order of deliveries.';

COMMENT ON COLUMN students.created_at IS 'When the row was first written.';

COMMENT ON COLUMN students.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN students.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.';

CREATE OR REPLACE TRIGGER tr_students_updated_at BEFORE UPDATE OF district_id, first_name, last_name, grade_level, date_of_birth, gender, ethnicity, socioeconomic_status, gpa, attendance_rate, parent_contact, enrollment_date, exit_date, exit_type, student_metadata, deleted_on
ON students FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('students');

CREATE TABLE schools (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    school_id VARCHAR(50) NOT NULL,
    name VARCHAR(200),
    level VARCHAR(50),
    lowest_grade VARCHAR(20),
    highest_grade VARCHAR(20),
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    CONSTRAINT pk_schools PRIMARY KEY (id),
    CONSTRAINT uq_schools_school_id UNIQUE (tenant_id, school_id)
);

COMMENT ON TABLE schools IS 'The district''s schools.';

COMMENT ON COLUMN schools.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN schools.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN schools.school_id IS 'The district''s number of it.';

COMMENT ON COLUMN schools.name IS 'The school''s name.';

COMMENT ON COLUMN schools.level IS 'Kind of school, in the district''s words: elementary, middle, high, …';

COMMENT ON COLUMN schools.lowest_grade IS 'Lowest grade taught, as the district writes it (`0`, `PK`, …).';

COMMENT ON COLUMN schools.highest_grade IS 'Highest grade taught, as the district writes it.';

COMMENT ON COLUMN schools.first_delivered_on IS 'Date of the oldest delivery that held this record.';

COMMENT ON COLUMN schools.delivered_on IS 'Date of the newest delivery that held this record.';

COMMENT ON COLUMN schools.field_deliveries IS 'For fields that the newest delivery did not carry: the date of the newest delivery that did (null: none yet). NULL when every field is as new as the row; it keeps the result independent of the order of deliveries.';

COMMENT ON COLUMN schools.created_at IS 'When the row was first written.';

COMMENT ON COLUMN schools.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN schools.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.';

CREATE OR REPLACE TRIGGER tr_schools_updated_at BEFORE UPDATE OF school_id, name, level, lowest_grade, highest_grade, deleted_on
ON schools FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('schools');

CREATE TABLE enrollments (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    school_id VARCHAR(50),
    entry_date DATE NOT NULL,
    exit_date DATE,
    exit_type VARCHAR(20),
    grade_level INTEGER,
    is_primary BOOLEAN,
    source_record_id VARCHAR(100),
    origin VARCHAR(10) NOT NULL,
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    taken_back_for TEXT,
    CONSTRAINT pk_enrollments PRIMARY KEY (id),
    CONSTRAINT ck_enrollments_exit_type_values CHECK (exit_type IN ('completed', 'transferred', 'dropped_out', 'failed', 'other')),
    CONSTRAINT ck_enrollments_grade_level_range CHECK (grade_level >= 0 AND grade_level <= 12),
    CONSTRAINT ck_enrollments_origin_values CHECK (origin IN ('sent', 'student', 'assumed')),
    CONSTRAINT fk_enrollments_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_enrollments_school_id ON enrollments (tenant_id, school_id);

CREATE UNIQUE INDEX uq_enrollments_student_id_school_id_entry_date ON enrollments (student_id, coalesce(school_id, ''), entry_date);

COMMENT ON TABLE enrollments IS 'Since when and until when each student is enrolled, and where: one row a student, school and entry.';

COMMENT ON COLUMN enrollments.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN enrollments.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN enrollments.student_id IS 'The student the row is about.';

COMMENT ON COLUMN enrollments.school_id IS 'The school; NULL where the district does not say. Checked against `schools` once it sends any.';

COMMENT ON COLUMN enrollments.entry_date IS 'First day of the enrolment.';

COMMENT ON COLUMN enrollments.exit_date IS 'First day on which the enrolment holds no more; NULL while it does.';

COMMENT ON COLUMN enrollments.exit_type IS 'Why the enrolment ended.';

COMMENT ON COLUMN enrollments.grade_level IS 'Grade at this school, 0 (kindergarten) to 12.';

COMMENT ON COLUMN enrollments.is_primary IS 'Whether it is the student''s main school, where there are several at a time; NULL: not said.';

COMMENT ON COLUMN enrollments.source_record_id IS 'The source system''s own identifier of the enrolment.';

COMMENT ON COLUMN enrollments.origin IS '`sent`: a delivery of enrollments. `student`: an `enrollment_date` of a delivery of students. `assumed`: none was sent; it begins with the first recorded event, or else the first delivery.';

COMMENT ON COLUMN enrollments.first_delivered_on IS 'Date of the oldest delivery that held this record.';

COMMENT ON COLUMN enrollments.delivered_on IS 'Date of the newest delivery that held this record; of those that were not `sent`, of the oldest one that said what it says now.';

COMMENT ON COLUMN enrollments.field_deliveries IS 'For fields that the newest delivery did not carry: the date of the newest delivery that did (null: none yet). NULL when every field is as new as the row; it keeps the result independent of the order of deliveries.';

COMMENT ON COLUMN enrollments.created_at IS 'When the row was first written.';

COMMENT ON COLUMN enrollments.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN enrollments.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.';

COMMENT ON COLUMN enrollments.taken_back_for IS 'Why a person took it back by command; free text.';

CREATE OR REPLACE TRIGGER tr_enrollments_updated_at BEFORE UPDATE OF student_id, school_id, entry_date, exit_date, exit_type, grade_level, is_primary, source_record_id, origin, deleted_on, taken_back_for
ON enrollments FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('enrollments');

CREATE TABLE enrollment_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    said VARCHAR(50) NOT NULL,
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    CONSTRAINT pk_enrollment_statements PRIMARY KEY (student_id, said),
    CONSTRAINT fk_enrollment_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_enrollment_statements_delivered_on ON enrollment_statements (tenant_id, delivered_on);

COMMENT ON TABLE enrollment_statements IS 'What deliveries of students said of entry and exit, each distinct statement once; the enrolments that were not sent themselves are made of them, whatever order the deliveries came in.';

COMMENT ON COLUMN enrollment_statements.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN enrollment_statements.student_id IS 'The student the row is about.';

COMMENT ON COLUMN enrollment_statements.said IS '`entry/exit/exit type` as delivered, dates in ISO form. An empty entry was not said; an empty exit says that there is none, and `?` that nothing was said of it.';

COMMENT ON COLUMN enrollment_statements.first_delivered_on IS 'Date of the oldest delivery that held this record.';

COMMENT ON COLUMN enrollment_statements.delivered_on IS 'Date of the newest delivery that said so.';

SELECT edupulse_guard('enrollment_statements');

CREATE TABLE attendance_records (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    date DATE NOT NULL,
    status VARCHAR(20) NOT NULL,
    period INTEGER,
    delivered_on DATE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    minutes_absent INTEGER,
    minutes_possible INTEGER,
    field_deliveries JSONB,
    school_id VARCHAR(50),
    CONSTRAINT pk_attendance_records PRIMARY KEY (id, date),
    CONSTRAINT ck_attendance_records_status_values CHECK (status IN ('present', 'absent', 'tardy', 'excused')),
    CONSTRAINT ck_attendance_records_period_range CHECK (period >= 0),
    CONSTRAINT ck_attendance_records_minutes_absent_range CHECK (minutes_absent >= 0 AND minutes_absent <= 1440),
    CONSTRAINT ck_attendance_records_minutes_possible_range CHECK (minutes_possible >= 1 AND minutes_possible <= 1440),
    CONSTRAINT fk_attendance_records_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
)
 PARTITION BY RANGE (date);

CREATE INDEX ix_attendance_records_date ON attendance_records (date, tenant_id);

CREATE UNIQUE INDEX uq_attendance_records_student_id_date_period_school_id ON attendance_records (student_id, date, coalesce(period, -1), coalesce(school_id, ''));

CREATE TABLE attendance_records_default PARTITION OF attendance_records DEFAULT;

COMMENT ON TABLE attendance_records IS 'Attendance, one row per student, day and, where the district records them, period and school.';

COMMENT ON COLUMN attendance_records.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN attendance_records.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN attendance_records.student_id IS 'The student the row is about.';

COMMENT ON COLUMN attendance_records.date IS 'School day.';

COMMENT ON COLUMN attendance_records.status IS 'present and tardy are attended; absent is unexcused; excused is kept apart.';

COMMENT ON COLUMN attendance_records.period IS 'Period of the day; NULL where attendance is daily.';

COMMENT ON COLUMN attendance_records.delivered_on IS 'Date of the newest delivery that held this record.';

COMMENT ON COLUMN attendance_records.created_at IS 'When the row was first written.';

COMMENT ON COLUMN attendance_records.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN attendance_records.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.';

COMMENT ON COLUMN attendance_records.minutes_absent IS 'Minutes of the session that the student missed; NULL where they are not sent.';

COMMENT ON COLUMN attendance_records.minutes_possible IS 'Minutes of the session; NULL where they are not sent.';

COMMENT ON COLUMN attendance_records.field_deliveries IS 'For fields that the newest delivery did not carry: the date of the newest delivery that did (null: none yet). NULL when every field is as new as the row; it keeps the result independent of the order of deliveries.';

COMMENT ON COLUMN attendance_records.school_id IS 'Where the session was; NULL where nobody says: then the enrolment of that day says it when asked.';

CREATE OR REPLACE TRIGGER tr_attendance_records_updated_at BEFORE UPDATE OF student_id, date, status, period, deleted_on, minutes_absent, minutes_possible, school_id
ON attendance_records FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('attendance_records');

CREATE TABLE attendance_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    date DATE NOT NULL,
    period INTEGER NOT NULL,
    said JSONB NOT NULL,
    at_several BOOLEAN NOT NULL,
    CONSTRAINT pk_attendance_statements PRIMARY KEY (student_id, date, period),
    CONSTRAINT fk_attendance_statements_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_attendance_statements_date ON attendance_statements (tenant_id, date);

COMMENT ON TABLE attendance_statements IS 'Sessions of which some deliveries name the school and some do not: what each of them said. The records of such a session are made of it, one or several, whatever order the deliveries came in.';

COMMENT ON COLUMN attendance_statements.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN attendance_statements.student_id IS 'The student the row is about.';

COMMENT ON COLUMN attendance_statements.date IS 'School day.';

COMMENT ON COLUMN attendance_statements.period IS 'Period of the day; -1 where attendance is daily.';

COMMENT ON COLUMN attendance_statements.said IS 'By school (empty: none named) the record that these deliveries alone would make.';

COMMENT ON COLUMN attendance_statements.at_several IS 'Whether the student was enrolled at several schools on that day when the records were made.';

SELECT edupulse_guard('attendance_statements');

CREATE TABLE grades (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    source_record_id VARCHAR(100),
    course_id VARCHAR(50) NOT NULL,
    course_name VARCHAR(200),
    grade_value DOUBLE PRECISION,
    grade_letter VARCHAR(2),
    submission_date DATE NOT NULL,
    assignment_type VARCHAR(50),
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    CONSTRAINT pk_grades PRIMARY KEY (id),
    CONSTRAINT ck_grades_grade_value_range CHECK (grade_value >= 0 AND grade_value <= 100),
    CONSTRAINT fk_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_grades_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_grades_course_id ON grades (tenant_id, course_id);

CREATE INDEX ix_grades_student_id_submission_date ON grades (tenant_id, student_id, submission_date);

COMMENT ON TABLE grades IS 'Graded work, one row per student and assignment.';

COMMENT ON COLUMN grades.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN grades.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN grades.student_id IS 'The student the row is about.';

COMMENT ON COLUMN grades.record_key IS 'Identity across deliveries: `id:` + source record id (of incidents with the student''s number, since one may concern several), else `hash:` + content hash + occurrence number.';

COMMENT ON COLUMN grades.source_record_id IS 'The source system''s own identifier of the record; with it a changed record is an update.';

COMMENT ON COLUMN grades.course_id IS 'The district''s course identifier.';

COMMENT ON COLUMN grades.course_name IS 'The course''s title.';

COMMENT ON COLUMN grades.grade_value IS 'Score in percent, 0 to 100.';

COMMENT ON COLUMN grades.grade_letter IS 'Letter grade.';

COMMENT ON COLUMN grades.submission_date IS 'The day the work was handed in.';

COMMENT ON COLUMN grades.assignment_type IS 'test, homework, project, …';

COMMENT ON COLUMN grades.delivered_on IS 'Date of the newest delivery that held this record.';

COMMENT ON COLUMN grades.field_deliveries IS 'For fields that the newest delivery did not carry: the date of the newest delivery that did (null: none yet). NULL when every field is as new as the row; it keeps the result independent of the order of deliveries.';

COMMENT ON COLUMN grades.created_at IS 'When the row was first written.';

COMMENT ON COLUMN grades.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN grades.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.';

CREATE OR REPLACE TRIGGER tr_grades_updated_at BEFORE UPDATE OF student_id, record_key, source_record_id, course_id, course_name, grade_value, grade_letter, submission_date, assignment_type, deleted_on
ON grades FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('grades');

CREATE TABLE discipline_incidents (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    source_record_id VARCHAR(100),
    incident_date DATE NOT NULL,
    severity_level INTEGER NOT NULL,
    incident_type VARCHAR(100),
    description TEXT,
    resolution VARCHAR(200),
    delivered_on DATE NOT NULL,
    field_deliveries JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    CONSTRAINT pk_discipline_incidents PRIMARY KEY (id),
    CONSTRAINT ck_discipline_incidents_severity_level_range CHECK (severity_level >= 1 AND severity_level <= 5),
    CONSTRAINT fk_discipline_incidents_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_discipline_incidents_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_discipline_incidents_incident_date ON discipline_incidents (tenant_id, incident_date);

CREATE INDEX ix_discipline_incidents_student_id_incident_date ON discipline_incidents (tenant_id, student_id, incident_date);

COMMENT ON TABLE discipline_incidents IS 'Behavioural incidents with their severity.';

COMMENT ON COLUMN discipline_incidents.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN discipline_incidents.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN discipline_incidents.student_id IS 'The student the row is about.';

COMMENT ON COLUMN discipline_incidents.record_key IS 'Identity across deliveries: `id:` + source record id (of incidents with the student''s number, since one may concern several), else `hash:` + content hash + occurrence number.';

COMMENT ON COLUMN discipline_incidents.source_record_id IS 'The source system''s own identifier of the record; with it a changed record is an update.';

COMMENT ON COLUMN discipline_incidents.incident_date IS 'The day of the incident.';

COMMENT ON COLUMN discipline_incidents.severity_level IS '1 minor, 2 moderate, 3 serious, 4 major, 5 critical.';

COMMENT ON COLUMN discipline_incidents.incident_type IS 'Kind of incident.';

COMMENT ON COLUMN discipline_incidents.description IS 'Free text; may name people.';

COMMENT ON COLUMN discipline_incidents.resolution IS 'What was done.';

COMMENT ON COLUMN discipline_incidents.delivered_on IS 'Date of the newest delivery that held this record.';

COMMENT ON COLUMN discipline_incidents.field_deliveries IS 'For fields that the newest delivery did not carry: the date of the newest delivery that did (null: none yet). NULL when every field is as new as the row; it keeps the result independent of the order of deliveries.';

COMMENT ON COLUMN discipline_incidents.created_at IS 'When the row was first written.';

COMMENT ON COLUMN discipline_incidents.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN discipline_incidents.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.';

CREATE OR REPLACE TRIGGER tr_discipline_incidents_updated_at BEFORE UPDATE OF student_id, record_key, source_record_id, incident_date, severity_level, incident_type, description, resolution, deleted_on
ON discipline_incidents FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('discipline_incidents');

CREATE TABLE student_features (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    attendance_rate DOUBLE PRECISION,
    gpa_current DOUBLE PRECISION,
    discipline_incidents INTEGER,
    feature_vector JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_student_features PRIMARY KEY (student_id, feature_date),
    CONSTRAINT ck_student_features_attendance_rate_range CHECK (attendance_rate >= 0 AND attendance_rate <= 1),
    CONSTRAINT ck_student_features_gpa_current_range CHECK (gpa_current >= 0 AND gpa_current <= 5),
    CONSTRAINT ck_student_features_discipline_incidents_range CHECK (discipline_incidents >= 0),
    CONSTRAINT fk_student_features_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_student_features_feature_date ON student_features (tenant_id, feature_date);

COMMENT ON TABLE student_features IS 'The feature vector of each enrolled student at the end of each school week.';

COMMENT ON COLUMN student_features.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN student_features.student_id IS 'The student the row is about.';

COMMENT ON COLUMN student_features.feature_date IS 'The Sunday that closes the school week: the as-of date.';

COMMENT ON COLUMN student_features.attendance_rate IS 'Share of recorded sessions attended over the last four school weeks.';

COMMENT ON COLUMN student_features.gpa_current IS 'Grade points of the mean grade over the last four school weeks (4.0 scale).';

COMMENT ON COLUMN student_features.discipline_incidents IS 'Incidents over the last four school weeks; NULL when the district sends none.';

COMMENT ON COLUMN student_features.feature_vector IS 'Weekly series, trends, metadata and the named features of the model.';

COMMENT ON COLUMN student_features.created_at IS 'When the row was first written.';

COMMENT ON COLUMN student_features.updated_at IS 'When the row last changed; kept by the database.';

CREATE OR REPLACE TRIGGER tr_student_features_updated_at BEFORE UPDATE OF student_id, feature_date, attendance_rate, gpa_current, discipline_incidents, feature_vector
ON student_features FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('student_features');

CREATE TABLE model_metadata (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    model_type VARCHAR(50),
    training_date TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    performance_metrics JSONB DEFAULT '{}',
    hyperparameters JSONB DEFAULT '{}',
    is_active BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    data_through DATE,
    data_hash VARCHAR(64),
    settings_hash VARCHAR(64),
    promoted BOOLEAN DEFAULT false NOT NULL,
    set_aside BOOLEAN DEFAULT false NOT NULL,
    mlflow_run_id VARCHAR(64),
    mlflow_model_id VARCHAR(64),
    registered_model VARCHAR(255),
    registry_version VARCHAR(20),
    artifact_sha256 VARCHAR(64),
    artifact_uri TEXT,
    label_hash VARCHAR(64),
    CONSTRAINT pk_model_metadata PRIMARY KEY (id),
    CONSTRAINT uq_model_metadata_model_version UNIQUE (tenant_id, model_version)
);

CREATE UNIQUE INDEX uq_model_metadata_is_active ON model_metadata (tenant_id) WHERE is_active;

COMMENT ON TABLE model_metadata IS 'Every model version trained, mirrored from the MLflow registry.';

COMMENT ON COLUMN model_metadata.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN model_metadata.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN model_metadata.model_version IS 'Version, unique within the tenant.';

COMMENT ON COLUMN model_metadata.model_type IS 'Kind of model.';

COMMENT ON COLUMN model_metadata.training_date IS 'When it was trained.';

COMMENT ON COLUMN model_metadata.performance_metrics IS 'Metrics on the validation weeks, beside those of the simple rule.';

COMMENT ON COLUMN model_metadata.hyperparameters IS 'What it was made with and of: settings, weeks, configuration, coefficients, references.';

COMMENT ON COLUMN model_metadata.is_active IS 'Whether it is the tenant''s champion.';

COMMENT ON COLUMN model_metadata.created_at IS 'When the row was first written.';

COMMENT ON COLUMN model_metadata.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN model_metadata.data_through IS 'Monday of the newest school week whose data it was trained with.';

COMMENT ON COLUMN model_metadata.data_hash IS 'SHA-256 of its ordered samples.';

COMMENT ON COLUMN model_metadata.settings_hash IS 'SHA-256 of the settings that decide a model.';

COMMENT ON COLUMN model_metadata.promoted IS 'Whether it may score: it passed the promotion gate, or a person said so.';

COMMENT ON COLUMN model_metadata.set_aside IS 'Whether its files are gone for good: kept for its predictions, never chosen again.';

COMMENT ON COLUMN model_metadata.mlflow_run_id IS 'MLflow''s id of its run.';

COMMENT ON COLUMN model_metadata.mlflow_model_id IS 'MLflow''s id of the model.';

COMMENT ON COLUMN model_metadata.registered_model IS 'Name of the registered model in MLflow.';

COMMENT ON COLUMN model_metadata.registry_version IS 'Version of the registered model; NULL when it was set aside.';

COMMENT ON COLUMN model_metadata.artifact_sha256 IS 'SHA-256 of the model''s files, as they were logged.';

COMMENT ON COLUMN model_metadata.artifact_uri IS 'Where the model''s files lie.';

COMMENT ON COLUMN model_metadata.label_hash IS 'Hash of the definition of the label that it learned; figures of another label are not comparable.';

CREATE OR REPLACE TRIGGER tr_model_metadata_updated_at BEFORE UPDATE OF model_version, model_type, training_date, performance_metrics, hyperparameters, is_active, data_through, data_hash, settings_hash, promoted, set_aside, mlflow_run_id, mlflow_model_id, registered_model, registry_version, artifact_sha256, artifact_uri, label_hash
ON model_metadata FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('model_metadata');

CREATE TABLE predictions (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    prediction_date TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    risk_score DOUBLE PRECISION NOT NULL,
    risk_category VARCHAR(20) NOT NULL,
    confidence DOUBLE PRECISION NOT NULL,
    risk_factors JSONB DEFAULT '[]',
    model_version VARCHAR(50) NOT NULL,
    rescored BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_predictions PRIMARY KEY (id),
    CONSTRAINT ck_predictions_risk_score_range CHECK (risk_score >= 0 AND risk_score <= 1),
    CONSTRAINT ck_predictions_risk_category_values CHECK (risk_category IN ('low', 'medium', 'high', 'critical')),
    CONSTRAINT ck_predictions_confidence_range CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT fk_predictions_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT fk_predictions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT,
    CONSTRAINT uq_predictions_student_id_feature_date_model_version UNIQUE (tenant_id, student_id, feature_date, model_version),
    CONSTRAINT uq_predictions_id UNIQUE (tenant_id, id)
);

CREATE INDEX ix_predictions_feature_date_risk_category ON predictions (tenant_id, feature_date, risk_category);

CREATE INDEX ix_predictions_model_version ON predictions (tenant_id, model_version);

COMMENT ON TABLE predictions IS 'One risk score per student, school week and model version, with its explanation.';

COMMENT ON COLUMN predictions.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN predictions.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN predictions.student_id IS 'The student the row is about.';

COMMENT ON COLUMN predictions.feature_date IS 'As-of date of the features that were scored.';

COMMENT ON COLUMN predictions.prediction_date IS 'When the student was first scored for the week by this model.';

COMMENT ON COLUMN predictions.risk_score IS 'Calibrated probability of the adverse event.';

COMMENT ON COLUMN predictions.risk_category IS 'Category by the tenant''s thresholds.';

COMMENT ON COLUMN predictions.confidence IS 'See `risk.scoring` for the definition.';

COMMENT ON COLUMN predictions.risk_factors IS 'The model''s own contributions, largest first.';

COMMENT ON COLUMN predictions.model_version IS 'The model that scored.';

COMMENT ON COLUMN predictions.rescored IS 'Scored on request by a model that may have been trained on this very week.';

COMMENT ON COLUMN predictions.created_at IS 'When the row was first written.';

COMMENT ON COLUMN predictions.updated_at IS 'When the row last changed; kept by the database.';

CREATE OR REPLACE TRIGGER tr_predictions_updated_at BEFORE UPDATE OF student_id, feature_date, prediction_date, risk_score, risk_category, confidence, risk_factors, model_version, rescored
ON predictions FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('predictions');

CREATE TABLE training_feedback (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id UUID NOT NULL,
    record_key VARCHAR(110) NOT NULL,
    outcome_date DATE,
    outcome_type VARCHAR(50),
    feedback_type VARCHAR(50),
    educator_notes TEXT,
    delivered_on DATE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    deleted_on DATE,
    reviewer VARCHAR(100),
    CONSTRAINT pk_training_feedback PRIMARY KEY (id),
    CONSTRAINT ck_training_feedback_feedback_type_values CHECK (feedback_type IN ('true_positive', 'false_positive', 'true_negative', 'false_negative')),
    CONSTRAINT fk_training_feedback_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_training_feedback_record_key UNIQUE (tenant_id, record_key)
);

CREATE INDEX ix_training_feedback_prediction_id ON training_feedback (tenant_id, prediction_id);

COMMENT ON TABLE training_feedback IS 'Educators'' verdicts on predictions.';

COMMENT ON COLUMN training_feedback.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN training_feedback.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN training_feedback.prediction_id IS 'The prediction that is judged.';

COMMENT ON COLUMN training_feedback.record_key IS 'Identity across deliveries: `id:` + source record id (of incidents with the student''s number, since one may concern several), else `hash:` + content hash + occurrence number.';

COMMENT ON COLUMN training_feedback.outcome_date IS 'When the outcome was known.';

COMMENT ON COLUMN training_feedback.outcome_type IS 'What happened.';

COMMENT ON COLUMN training_feedback.feedback_type IS 'The verdict.';

COMMENT ON COLUMN training_feedback.educator_notes IS 'Free text; may name people.';

COMMENT ON COLUMN training_feedback.delivered_on IS 'Date of the newest delivery that held this record.';

COMMENT ON COLUMN training_feedback.created_at IS 'When the row was first written.';

COMMENT ON COLUMN training_feedback.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN training_feedback.deleted_on IS 'Delivery that took the record back (`_deleted`, or missing from a full snapshot); NULL while it stands.';

COMMENT ON COLUMN training_feedback.reviewer IS 'Who judged; a name, a role or a number, as the district likes.';

CREATE OR REPLACE TRIGGER tr_training_feedback_updated_at BEFORE UPDATE OF prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on, reviewer
ON training_feedback FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

SELECT edupulse_guard('training_feedback');

CREATE TABLE model_evaluations (
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    candidate VARCHAR(50) NOT NULL,
    scope VARCHAR(20) NOT NULL,
    as_of_date DATE NOT NULL,
    metric VARCHAR(50) NOT NULL,
    parameter VARCHAR(100) NOT NULL,
    subgroup VARCHAR(100) NOT NULL,
    value DOUBLE PRECISION,
    samples BIGINT,
    evaluated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_model_evaluations PRIMARY KEY (tenant_id, model_version, candidate, scope, as_of_date, metric, parameter, subgroup),
    CONSTRAINT ck_model_evaluations_scope_values CHECK (scope IN ('validation', 'week', 'unseen_students', 'matured', 'health')),
    CONSTRAINT ck_model_evaluations_samples_range CHECK (samples >= 0),
    CONSTRAINT fk_model_evaluations_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
);

COMMENT ON TABLE model_evaluations IS 'Every measured figure of every model in long form: one row a model, as-of week, metric and subgroup.';

COMMENT ON COLUMN model_evaluations.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN model_evaluations.model_version IS 'The model version it belongs to.';

COMMENT ON COLUMN model_evaluations.candidate IS 'Whose scores: `logistic`, `additive`, `boosting`, `rule`, or `champion` (the one at that time).';

COMMENT ON COLUMN model_evaluations.scope IS '`validation`: all held-out weeks together; `week`: one of them; `unseen_students`: held-out weeks and held-out students; `matured`: scores as they were given, once their outcomes are known; `health`: drift.';

COMMENT ON COLUMN model_evaluations.as_of_date IS 'Sunday of the as-of week; of several weeks, of the last one.';

COMMENT ON COLUMN model_evaluations.metric IS 'Name of the metric, as in `risk.judging.evaluation`.';

COMMENT ON COLUMN model_evaluations.parameter IS 'What the metric is taken at, such as `k10` or a feature; empty where there is none.';

COMMENT ON COLUMN model_evaluations.subgroup IS '`attribute=value`; empty for everybody in the cohort.';

COMMENT ON COLUMN model_evaluations.value IS 'NULL: not defined, or a subgroup too small to show.';

COMMENT ON COLUMN model_evaluations.samples IS 'Student-weeks it was measured on; NULL for a subgroup too small to show.';

COMMENT ON COLUMN model_evaluations.evaluated_at IS 'When it was measured.';

SELECT edupulse_guard('model_evaluations');

CREATE TABLE promotion_decisions (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    model_version VARCHAR(50) NOT NULL,
    kind VARCHAR(20) NOT NULL,
    promoted BOOLEAN NOT NULL,
    previous_version VARCHAR(50),
    reason TEXT NOT NULL,
    numbers JSONB DEFAULT '{}' NOT NULL,
    decided_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    run_id VARCHAR(50),
    CONSTRAINT pk_promotion_decisions PRIMARY KEY (id),
    CONSTRAINT ck_promotion_decisions_kind_values CHECK (kind IN ('gate', 'promote', 'rollback', 'sync')),
    CONSTRAINT fk_promotion_decisions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT
);

CREATE INDEX ix_promotion_decisions_decided_at ON promotion_decisions (tenant_id, decided_at);

COMMENT ON TABLE promotion_decisions IS 'Who became champion, who did not, and why: every decision of the gate and of people, with its numbers.';

COMMENT ON COLUMN promotion_decisions.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN promotion_decisions.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN promotion_decisions.model_version IS 'The model that was decided about.';

COMMENT ON COLUMN promotion_decisions.kind IS '`gate`: by the rules; `promote`, `rollback`, `sync`: by a person''s command.';

COMMENT ON COLUMN promotion_decisions.promoted IS 'Whether the model passed.';

COMMENT ON COLUMN promotion_decisions.previous_version IS 'The champion before; NULL when there was none.';

COMMENT ON COLUMN promotion_decisions.reason IS 'The decision in words.';

COMMENT ON COLUMN promotion_decisions.numbers IS 'Every figure that it rests on.';

COMMENT ON COLUMN promotion_decisions.decided_at IS 'When it was decided.';

COMMENT ON COLUMN promotion_decisions.run_id IS 'The run that decided.';

SELECT edupulse_guard('promotion_decisions');

CREATE TABLE review_proposals (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    drawn_from INTEGER NOT NULL,
    proposed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_review_proposals PRIMARY KEY (id),
    CONSTRAINT ck_review_proposals_drawn_from_range CHECK (drawn_from >= 1),
    CONSTRAINT fk_review_proposals_predictions FOREIGN KEY(tenant_id, prediction_id) REFERENCES predictions (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT uq_review_proposals_prediction_id UNIQUE (tenant_id, prediction_id)
);

CREATE INDEX ix_review_proposals_feature_date ON review_proposals (tenant_id, feature_date);

COMMENT ON TABLE review_proposals IS 'Unflagged students drawn at random each week for an educator''s review, so that misses can be counted.';

COMMENT ON COLUMN review_proposals.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN review_proposals.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN review_proposals.prediction_id IS 'The prediction to judge; names student, week and model.';

COMMENT ON COLUMN review_proposals.feature_date IS 'As-of date of the week it was drawn for.';

COMMENT ON COLUMN review_proposals.drawn_from IS 'Unflagged students of the week it was drawn from; with the number drawn, the sampling fraction.';

COMMENT ON COLUMN review_proposals.proposed_at IS 'When it was drawn.';

SELECT edupulse_guard('review_proposals');

CREATE TABLE ingested_files (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    sha256 VARCHAR(64) NOT NULL,
    size_bytes BIGINT NOT NULL,
    status VARCHAR(20) NOT NULL,
    reason VARCHAR(50),
    detail TEXT,
    unknown_columns JSONB DEFAULT '[]',
    rows_read BIGINT DEFAULT 0 NOT NULL,
    rows_inserted BIGINT DEFAULT 0 NOT NULL,
    rows_updated BIGINT DEFAULT 0 NOT NULL,
    rows_unchanged BIGINT DEFAULT 0 NOT NULL,
    rows_quarantined BIGINT DEFAULT 0 NOT NULL,
    archived_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    loaded_at TIMESTAMP WITH TIME ZONE,
    run_id VARCHAR(50),
    source_format VARCHAR(50),
    left_out JSONB,
    snapshot JSONB,
    rows_deleted BIGINT DEFAULT 0 NOT NULL,
    confirms_only BOOLEAN DEFAULT false NOT NULL,
    landed_state VARCHAR(64),
    removals JSONB,
    rows_by_week JSONB,
    archive_sha256 VARCHAR(64),
    rows_erased BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_ingested_files PRIMARY KEY (id),
    CONSTRAINT ck_ingested_files_size_bytes_range CHECK (size_bytes >= 0),
    CONSTRAINT ck_ingested_files_status_values CHECK (status IN ('archived', 'loaded', 'refused', 'superseded', 'withdrawn')),
    CONSTRAINT ck_ingested_files_rows_read_range CHECK (rows_read >= 0),
    CONSTRAINT ck_ingested_files_rows_inserted_range CHECK (rows_inserted >= 0),
    CONSTRAINT ck_ingested_files_rows_updated_range CHECK (rows_updated >= 0),
    CONSTRAINT ck_ingested_files_rows_unchanged_range CHECK (rows_unchanged >= 0),
    CONSTRAINT ck_ingested_files_rows_quarantined_range CHECK (rows_quarantined >= 0),
    CONSTRAINT uq_ingested_files_table_name_delivered_on_file_name_sha256 UNIQUE (tenant_id, table_name, delivered_on, file_name, sha256)
);

CREATE INDEX ix_ingested_files_sha256 ON ingested_files (tenant_id, sha256);

COMMENT ON TABLE ingested_files IS 'The manifest: every file that was ever landed, and what became of its rows.';

COMMENT ON COLUMN ingested_files.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN ingested_files.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN ingested_files.table_name IS 'The record table the file is for.';

COMMENT ON COLUMN ingested_files.delivered_on IS 'Date of the delivery.';

COMMENT ON COLUMN ingested_files.file_name IS 'Name within the delivery.';

COMMENT ON COLUMN ingested_files.sha256 IS 'Hash of the content.';

COMMENT ON COLUMN ingested_files.size_bytes IS 'Size of the file.';

COMMENT ON COLUMN ingested_files.status IS 'What became of it.';

COMMENT ON COLUMN ingested_files.reason IS 'Code of the reason for a refusal.';

COMMENT ON COLUMN ingested_files.detail IS 'The refusal in words; never a student''s value.';

COMMENT ON COLUMN ingested_files.unknown_columns IS 'Header names the contract does not know.';

COMMENT ON COLUMN ingested_files.rows_read IS 'Data rows in the file.';

COMMENT ON COLUMN ingested_files.rows_inserted IS 'New records.';

COMMENT ON COLUMN ingested_files.rows_updated IS 'Changed records.';

COMMENT ON COLUMN ingested_files.rows_unchanged IS 'Rows that said nothing new.';

COMMENT ON COLUMN ingested_files.rows_quarantined IS 'Rows still in quarantine.';

COMMENT ON COLUMN ingested_files.archived_at IS 'When the file was archived.';

COMMENT ON COLUMN ingested_files.loaded_at IS 'When its rows were merged.';

COMMENT ON COLUMN ingested_files.run_id IS 'The run that merged it.';

COMMENT ON COLUMN ingested_files.source_format IS 'What the file was read as, such as `csv, gzip` or `OneRoster 1.2`.';

COMMENT ON COLUMN ingested_files.left_out IS 'Entries of the source that are no records of the table (an exempt result, say), by reason.';

COMMENT ON COLUMN ingested_files.snapshot IS 'The days (`from`, `to`) for which the delivery says it holds every record; NULL: what is new.';

COMMENT ON COLUMN ingested_files.rows_deleted IS 'Stored records that this file, or its absence of them from a snapshot, took back.';

COMMENT ON COLUMN ingested_files.confirms_only IS 'Whether its rows were not merged one by one, because the newest delivery before it said exactly the same; they are when an older delivery comes late.';

COMMENT ON COLUMN ingested_files.landed_state IS 'Hash of what the file system said of the landed file when its content was compared last; while it says the same, the file is not read again.';

COMMENT ON COLUMN ingested_files.removals IS 'Of a snapshot: how many records it no longer holds (`gone`) beside those it does (`held`), and whether it is `believed` and has taken them back. NULL while that was not looked at.';

COMMENT ON COLUMN ingested_files.rows_by_week IS 'Rows by the Monday of the school week they are dated in; from when on a domain is known rests on it. NULL where the table''s records have no such date, and for files loaded before this was noted.';

COMMENT ON COLUMN ingested_files.archive_sha256 IS 'Hash of the archive that was written of it; NULL for one from before archives had a hash.';

COMMENT ON COLUMN ingested_files.rows_erased IS 'Rows of erased students, which the archive leaves out; they are not among those read.';

SELECT edupulse_guard('ingested_files');

CREATE TABLE accepted_removals (
    tenant_id VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    accepted_by VARCHAR(255),
    accepted_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_accepted_removals PRIMARY KEY (tenant_id, delivered_on)
);

COMMENT ON TABLE accepted_removals IS 'Deliveries of which a person has said that what their snapshots no longer hold is really gone.';

COMMENT ON COLUMN accepted_removals.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN accepted_removals.delivered_on IS 'Date of the delivery.';

COMMENT ON COLUMN accepted_removals.accepted_by IS 'Who said so, as the run knows it.';

COMMENT ON COLUMN accepted_removals.accepted_at IS 'When it was said.';

SELECT edupulse_guard('accepted_removals');

CREATE TABLE quarantined_records (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    file_hash VARCHAR(64) NOT NULL,
    file_name VARCHAR(255) NOT NULL,
    delivered_on DATE NOT NULL,
    line_number BIGINT NOT NULL,
    raw JSON NOT NULL,
    reasons JSONB NOT NULL,
    quarantined_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    run_id VARCHAR(50),
    replayed_at TIMESTAMP WITH TIME ZONE,
    superseded_at TIMESTAMP WITH TIME ZONE,
    corrected JSON,
    corrected_at TIMESTAMP WITH TIME ZONE,
    replay_run_id VARCHAR(50),
    accepted_at TIMESTAMP WITH TIME ZONE,
    accepted_by VARCHAR(255),
    accepted_reason TEXT,
    CONSTRAINT pk_quarantined_records PRIMARY KEY (id),
    CONSTRAINT ck_quarantined_records_line_number_range CHECK (line_number >= 1),
    CONSTRAINT uq_quarantined_records_table_name_file_hash_line_number UNIQUE (tenant_id, table_name, file_hash, line_number)
);

CREATE INDEX ix_quarantined_records_table_name_delivered_on ON quarantined_records (tenant_id, table_name, delivered_on);

COMMENT ON TABLE quarantined_records IS 'Rows that were not loaded, as they came, with every reason; they can be replayed.';

COMMENT ON COLUMN quarantined_records.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN quarantined_records.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN quarantined_records.table_name IS 'The record table the row is for.';

COMMENT ON COLUMN quarantined_records.file_hash IS 'SHA-256 of the file.';

COMMENT ON COLUMN quarantined_records.file_name IS 'Delivery date and file name.';

COMMENT ON COLUMN quarantined_records.delivered_on IS 'Date of the delivery.';

COMMENT ON COLUMN quarantined_records.line_number IS 'The row''s first line in the file; the header is line 1.';

COMMENT ON COLUMN quarantined_records.raw IS 'The row as it came.';

COMMENT ON COLUMN quarantined_records.reasons IS 'Reason codes, each `rule` or `rule:column`.';

COMMENT ON COLUMN quarantined_records.quarantined_at IS 'When it was quarantined.';

COMMENT ON COLUMN quarantined_records.run_id IS 'The run that quarantined it.';

COMMENT ON COLUMN quarantined_records.replayed_at IS 'When it was loaded after all.';

COMMENT ON COLUMN quarantined_records.superseded_at IS 'When a corrected file of the same name and delivery replaced its file.';

COMMENT ON COLUMN quarantined_records.corrected IS 'The row as a person corrected it, by column of the file; it is loaded in place of `raw`.';

COMMENT ON COLUMN quarantined_records.corrected_at IS 'When it was corrected.';

COMMENT ON COLUMN quarantined_records.replay_run_id IS 'The run that loaded it after all.';

COMMENT ON COLUMN quarantined_records.accepted_at IS 'When a person said that the row is right, of one that names another child under a number.';

COMMENT ON COLUMN quarantined_records.accepted_by IS 'Who said so.';

COMMENT ON COLUMN quarantined_records.accepted_reason IS 'Why, as the person said it.';

SELECT edupulse_guard('quarantined_records');

CREATE TABLE disputed_numbers (
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    since DATE NOT NULL,
    until DATE,
    CONSTRAINT pk_disputed_numbers PRIMARY KEY (tenant_id, district_id, since)
);

COMMENT ON TABLE disputed_numbers IS 'Numbers under which another child was delivered: from when to when nobody knows whose records are meant.';

COMMENT ON COLUMN disputed_numbers.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN disputed_numbers.district_id IS 'The student''s number.';

COMMENT ON COLUMN disputed_numbers.since IS 'The delivery that named another child under the number.';

COMMENT ON COLUMN disputed_numbers.until IS 'The next delivery that named the first child again; NULL while there is none.';

SELECT edupulse_guard('disputed_numbers');

CREATE TABLE student_merges (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    old_number VARCHAR(50) NOT NULL,
    new_number VARCHAR(50) NOT NULL,
    reason TEXT NOT NULL,
    merged_by VARCHAR(255),
    merged_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    undone_by VARCHAR(255),
    undone_at TIMESTAMP WITH TIME ZONE,
    in_force BOOLEAN NOT NULL,
    moved JSONB,
    CONSTRAINT pk_student_merges PRIMARY KEY (id)
);

CREATE INDEX ix_student_merges_new_number ON student_merges (tenant_id, new_number);

CREATE UNIQUE INDEX uq_student_merges_in_force ON student_merges (tenant_id, old_number) WHERE in_force;

COMMENT ON TABLE student_merges IS 'Numbers that a person has said are one child''s, with who said so and why.';

COMMENT ON COLUMN student_merges.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN student_merges.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN student_merges.old_number IS 'The number that is given up.';

COMMENT ON COLUMN student_merges.new_number IS 'The number of the joined child.';

COMMENT ON COLUMN student_merges.reason IS 'Why they are one child, as the person said it.';

COMMENT ON COLUMN student_merges.merged_by IS 'Who joined them.';

COMMENT ON COLUMN student_merges.merged_at IS 'When they were joined.';

COMMENT ON COLUMN student_merges.undone_by IS 'Who took the joining back.';

COMMENT ON COLUMN student_merges.undone_at IS 'When it was taken back.';

COMMENT ON COLUMN student_merges.in_force IS 'Whether it holds.';

COMMENT ON COLUMN student_merges.moved IS 'Ids of the predictions and verdicts that went to the joined child, for taking it back.';

SELECT edupulse_guard('student_merges');

CREATE TABLE instructional_days (
    tenant_id VARCHAR(50) NOT NULL,
    date DATE NOT NULL,
    delivered_on DATE NOT NULL,
    CONSTRAINT pk_instructional_days PRIMARY KEY (tenant_id, date)
);

COMMENT ON TABLE instructional_days IS 'The school days a source''s own calendar names; with them exceptions-only attendance has a denominator.';

COMMENT ON COLUMN instructional_days.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN instructional_days.date IS 'A day of instruction.';

COMMENT ON COLUMN instructional_days.delivered_on IS 'Date of the newest delivery that named it.';

SELECT edupulse_guard('instructional_days');

CREATE TABLE weekly_activity (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    week_start DATE NOT NULL,
    sessions_present INTEGER DEFAULT 0 NOT NULL,
    sessions_absent INTEGER DEFAULT 0 NOT NULL,
    sessions_tardy INTEGER DEFAULT 0 NOT NULL,
    sessions_excused INTEGER DEFAULT 0 NOT NULL,
    unexcused_absences INTEGER DEFAULT 0 NOT NULL,
    grade_count INTEGER DEFAULT 0 NOT NULL,
    grade_mean DOUBLE PRECISION,
    grade_lowest DOUBLE PRECISION,
    incident_count INTEGER DEFAULT 0 NOT NULL,
    severity_highest INTEGER,
    sessions_basis VARCHAR(20),
    days_enrolled INTEGER,
    days_present INTEGER,
    days_absent INTEGER,
    days_excused INTEGER,
    days_missed DOUBLE PRECISION,
    days_basis VARCHAR(20),
    CONSTRAINT pk_weekly_activity PRIMARY KEY (student_id, week_start),
    CONSTRAINT ck_weekly_activity_sessions_present_range CHECK (sessions_present >= 0),
    CONSTRAINT ck_weekly_activity_sessions_absent_range CHECK (sessions_absent >= 0),
    CONSTRAINT ck_weekly_activity_sessions_tardy_range CHECK (sessions_tardy >= 0),
    CONSTRAINT ck_weekly_activity_sessions_excused_range CHECK (sessions_excused >= 0),
    CONSTRAINT ck_weekly_activity_unexcused_absences_range CHECK (unexcused_absences >= 0),
    CONSTRAINT ck_weekly_activity_grade_count_range CHECK (grade_count >= 0),
    CONSTRAINT ck_weekly_activity_grade_mean_range CHECK (grade_mean >= 0 AND grade_mean <= 100),
    CONSTRAINT ck_weekly_activity_grade_lowest_range CHECK (grade_lowest >= 0 AND grade_lowest <= 100),
    CONSTRAINT ck_weekly_activity_incident_count_range CHECK (incident_count >= 0),
    CONSTRAINT ck_weekly_activity_severity_highest_range CHECK (severity_highest >= 1 AND severity_highest <= 5),
    CONSTRAINT fk_weekly_activity_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_weekly_activity_week_start ON weekly_activity (tenant_id, week_start);

COMMENT ON TABLE weekly_activity IS 'What each student''s records say about one school week; no row when they say nothing.';

COMMENT ON COLUMN weekly_activity.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN weekly_activity.student_id IS 'The student the row is about.';

COMMENT ON COLUMN weekly_activity.week_start IS 'Monday of the school week.';

COMMENT ON COLUMN weekly_activity.sessions_present IS 'Sessions recorded as present.';

COMMENT ON COLUMN weekly_activity.sessions_absent IS 'Sessions recorded as absent.';

COMMENT ON COLUMN weekly_activity.sessions_tardy IS 'Sessions recorded as tardy.';

COMMENT ON COLUMN weekly_activity.sessions_excused IS 'Sessions recorded as excused.';

COMMENT ON COLUMN weekly_activity.unexcused_absences IS 'School days with at least one unexcused absence.';

COMMENT ON COLUMN weekly_activity.grade_count IS 'Graded pieces of work.';

COMMENT ON COLUMN weekly_activity.grade_mean IS 'Mean score, percent.';

COMMENT ON COLUMN weekly_activity.grade_lowest IS 'Lowest score, percent.';

COMMENT ON COLUMN weekly_activity.incident_count IS 'Incidents.';

COMMENT ON COLUMN weekly_activity.severity_highest IS 'Highest severity.';

COMMENT ON COLUMN weekly_activity.sessions_basis IS 'How the sessions were counted. NULL: as recorded. Where only absences are recorded: the days of instruction while enrolled (1 = Monday) x sessions a day, such as `12345 x 1`; or `unknown` without a calendar or delivery for the week: then no rate can be given.';

COMMENT ON COLUMN weekly_activity.days_enrolled IS 'Days within an enrolment of which a session is recorded, or that the calendar names. NULL while unknown.';

COMMENT ON COLUMN weekly_activity.days_present IS 'Days enrolled that are no day of absence. NULL while unknown.';

COMMENT ON COLUMN weekly_activity.days_absent IS 'Days of absence without an excuse; tardy is present. NULL while unknown.';

COMMENT ON COLUMN weekly_activity.days_excused IS 'Days of absence that are excused; for chronic absence they count as well. NULL while unknown.';

COMMENT ON COLUMN weekly_activity.days_missed IS 'What was missed of the days, in days: half a day is 0.5. NULL while unknown.';

COMMENT ON COLUMN weekly_activity.days_basis IS 'The rule by which sessions were made into days, such as `half`; NULL: not computed yet.';

SELECT edupulse_guard('weekly_activity');

CREATE TABLE weekly_course_grades (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    week_start DATE NOT NULL,
    course_id VARCHAR(50) NOT NULL,
    grade_count INTEGER NOT NULL,
    grade_mean DOUBLE PRECISION NOT NULL,
    grade_lowest DOUBLE PRECISION NOT NULL,
    CONSTRAINT pk_weekly_course_grades PRIMARY KEY (student_id, week_start, course_id),
    CONSTRAINT ck_weekly_course_grades_grade_count_range CHECK (grade_count >= 1),
    CONSTRAINT ck_weekly_course_grades_grade_mean_range CHECK (grade_mean >= 0 AND grade_mean <= 100),
    CONSTRAINT ck_weekly_course_grades_grade_lowest_range CHECK (grade_lowest >= 0 AND grade_lowest <= 100),
    CONSTRAINT fk_weekly_course_grades_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_weekly_course_grades_week_start ON weekly_course_grades (tenant_id, week_start);

COMMENT ON TABLE weekly_course_grades IS 'Weekly activity by course, which the label of failing a course needs.';

COMMENT ON COLUMN weekly_course_grades.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN weekly_course_grades.student_id IS 'The student the row is about.';

COMMENT ON COLUMN weekly_course_grades.week_start IS 'Monday of the school week.';

COMMENT ON COLUMN weekly_course_grades.course_id IS 'The district''s course identifier.';

COMMENT ON COLUMN weekly_course_grades.grade_count IS 'Graded pieces of work.';

COMMENT ON COLUMN weekly_course_grades.grade_mean IS 'Mean score, percent.';

COMMENT ON COLUMN weekly_course_grades.grade_lowest IS 'Lowest score, percent.';

SELECT edupulse_guard('weekly_course_grades');

CREATE TABLE pending_updates (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    stage VARCHAR(20) NOT NULL,
    student_id UUID,
    week_start DATE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_pending_updates PRIMARY KEY (id),
    CONSTRAINT ck_pending_updates_stage_values CHECK (stage IN ('weekly_activity', 'enrolled_days', 'student_features')),
    CONSTRAINT fk_pending_updates_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_pending_updates_stage ON pending_updates (tenant_id, stage);

CREATE INDEX ix_pending_updates_student_id ON pending_updates (tenant_id, student_id);

COMMENT ON TABLE pending_updates IS 'What has to be recomputed; written in the transaction that changed the records.';

COMMENT ON COLUMN pending_updates.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN pending_updates.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN pending_updates.stage IS 'What to recompute: a table, or (`enrolled_days`) the days of rows of weekly activity.';

COMMENT ON COLUMN pending_updates.student_id IS 'The student; NULL for every student.';

COMMENT ON COLUMN pending_updates.week_start IS 'Monday of the week; other than for weekly_activity that week and all later.';

COMMENT ON COLUMN pending_updates.created_at IS 'When the row was first written.';

SELECT edupulse_guard('pending_updates');

CREATE TABLE step_accounts (
    tenant_id VARCHAR(50) NOT NULL,
    run_id VARCHAR(50) NOT NULL,
    step VARCHAR(50) NOT NULL,
    part VARCHAR(10) NOT NULL,
    account JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    CONSTRAINT pk_step_accounts PRIMARY KEY (tenant_id, run_id, step, part)
);

COMMENT ON TABLE step_accounts IS 'What each step of a run has done so far; a step that is tried again tells what all its tries did.';

COMMENT ON COLUMN step_accounts.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN step_accounts.run_id IS 'The Dagster run.';

COMMENT ON COLUMN step_accounts.step IS 'The table that the step fills.';

COMMENT ON COLUMN step_accounts.part IS 'Date of the delivery, or Monday of the week, that was worked on; empty for the whole step.';

COMMENT ON COLUMN step_accounts.account IS 'Counts by name; also of codes that the profile does not map.';

COMMENT ON COLUMN step_accounts.created_at IS 'When the row was first written.';

SELECT edupulse_guard('step_accounts');

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
);

CREATE INDEX ix_disclosures_disclosed_at ON disclosures (tenant_id, disclosed_at);

COMMENT ON TABLE disclosures IS 'What of students'' data was given to whom: every inspection and every export. Nothing of it is changed.';

COMMENT ON COLUMN disclosures.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN disclosures.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN disclosures.kind IS 'What was given.';

COMMENT ON COLUMN disclosures.subject_hash IS 'Of an inspection: keyed hash of the student''s number; it tells nothing without the key.';

COMMENT ON COLUMN disclosures.disclosed_at IS 'When.';

COMMENT ON COLUMN disclosures.disclosed_by IS 'Who gave it.';

COMMENT ON COLUMN disclosures.recipient IS 'To whom.';

COMMENT ON COLUMN disclosures.purpose IS 'What for.';

COMMENT ON COLUMN disclosures.legal_basis IS 'On what legal basis.';

COMMENT ON COLUMN disclosures.files IS 'SHA-256 of each file that was written, by its name.';

COMMENT ON COLUMN disclosures.counts IS 'How much was given, by what it is.';

CREATE OR REPLACE TRIGGER tr_disclosures_append_only_row AFTER UPDATE OR DELETE
ON disclosures FOR EACH ROW EXECUTE FUNCTION edupulse_refuse_change();

CREATE OR REPLACE TRIGGER tr_disclosures_append_only_statement BEFORE TRUNCATE
ON disclosures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_refuse_change();

SELECT edupulse_guard('disclosures');

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
);

COMMENT ON TABLE erasures IS 'Students who have been erased: who wanted it, who approved, and what was taken away. No row names one.';

COMMENT ON COLUMN erasures.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN erasures.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN erasures.number_hash IS 'Keyed hash of the student''s number.';

COMMENT ON COLUMN erasures.reason IS 'Why, as the person said it.';

COMMENT ON COLUMN erasures.erased_by IS 'Who erased.';

COMMENT ON COLUMN erasures.approved_by IS 'Who approved; another person.';

COMMENT ON COLUMN erasures.begun_at IS 'When it was begun.';

COMMENT ON COLUMN erasures.done_at IS 'When all was gone; NULL while it is not.';

COMMENT ON COLUMN erasures.counts IS 'What was taken away, by place.';

SELECT edupulse_guard('erasures');

CREATE TABLE erased_keys (
    tenant_id VARCHAR(50) NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    erasure_id UUID NOT NULL,
    CONSTRAINT pk_erased_keys PRIMARY KEY (tenant_id, key_hash),
    CONSTRAINT fk_erased_keys_erasures FOREIGN KEY(tenant_id, erasure_id) REFERENCES erasures (tenant_id, id) ON DELETE RESTRICT
);

COMMENT ON TABLE erased_keys IS 'Keyed hashes of what names an erased student, so that a file landed again does not bring the student back.';

COMMENT ON COLUMN erased_keys.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN erased_keys.key_hash IS 'Keyed hash of a number, an id, a name or a header.';

COMMENT ON COLUMN erased_keys.erasure_id IS 'The erasure it belongs to.';

SELECT edupulse_guard('erased_keys');

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
);

CREATE UNIQUE INDEX uq_legal_holds_in_force ON legal_holds (tenant_id, district_id) WHERE in_force;

COMMENT ON TABLE legal_holds IS 'Students whose data must be kept for now, whatever retention or an erasure would take away.';

COMMENT ON COLUMN legal_holds.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN legal_holds.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN legal_holds.district_id IS 'The student''s number.';

COMMENT ON COLUMN legal_holds.reason IS 'Why, as the person said it.';

COMMENT ON COLUMN legal_holds.placed_by IS 'Who placed it.';

COMMENT ON COLUMN legal_holds.placed_at IS 'When it was placed.';

COMMENT ON COLUMN legal_holds.released_by IS 'Who released it.';

COMMENT ON COLUMN legal_holds.released_at IS 'When it was released.';

COMMENT ON COLUMN legal_holds.in_force IS 'Whether it holds.';

SELECT edupulse_guard('legal_holds');

-- The column whose months a table is partitioned by. An error for a table that the declaration does not partition.
CREATE OR REPLACE FUNCTION edupulse_month_column(parent text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
DECLARE
    partitioned constant jsonb := '{"attendance_records": "date"}';
BEGIN
    IF (partitioned ? parent) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s is not partitioned by month', parent);
    END IF;
    RETURN partitioned ->> parent;
END
$$;

-- The table that holds a month, named by its first day. An error for any other day.
CREATE OR REPLACE FUNCTION edupulse_month_name(parent text, month date) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_column(parent);
    IF (month BETWEEN '0001-01-01' AND '9999-12-01' AND extract(day FROM month) = 1) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s is not the first day of a month', month);
    END IF;
    RETURN parent || to_char(month, '"_y"YYYY"m"MM');
END
$$;

-- The condition that the rows of a month fulfil.
CREATE OR REPLACE FUNCTION edupulse_month_bounds(parent text, month date) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = public, pg_temp AS $$
    SELECT format('%1$I >= DATE %2$L AND %1$I < DATE %3$L',
                  edupulse_month_column(parent), month, CAST(month + interval '1 month' AS date))
$$;

-- The partition that is attached for a month, whatever its name; NULL when there is none.
CREATE OR REPLACE FUNCTION edupulse_month_partition(parent text, month date) RETURNS text
LANGUAGE sql SET search_path = public, pg_temp AS $$
    SELECT c.relname
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(quote_ident(parent))
      AND starts_with(pg_get_expr(c.relpartbound, c.oid), format('FOR VALUES FROM (%L) TO ', month))
$$;

-- The columns of a table, in their order, as a list for a statement.
CREATE OR REPLACE FUNCTION edupulse_month_columns(parent text) RETURNS text
LANGUAGE sql SET search_path = public, pg_temp AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(parent)) AND attnum > 0 AND NOT attisdropped
$$;

-- Take every lock that attaching a month needs; also those for taking the partitions `taken` away. `referred_mode` is
-- how the tables are locked that rows refer to.
CREATE OR REPLACE FUNCTION edupulse_month_locks(parent text, taken text[], referred_mode text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    named text;
BEGIN
    PERFORM edupulse_month_column(parent);
    IF (referred_mode IN ('SHARE ROW EXCLUSIVE', 'ACCESS EXCLUSIVE')) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s is not a mode to lock in', referred_mode);
    END IF;
    FOR named IN
        SELECT DISTINCT CAST(CAST(confrelid AS regclass) AS text)
        FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(parent)) AND contype = 'f' ORDER BY 1
    LOOP
        EXECUTE format('LOCK TABLE ONLY %s IN %s MODE', named, referred_mode);
    END LOOP;
    EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', parent || '_default');
    EXECUTE format('LOCK TABLE ONLY %I IN %s MODE', parent,
                   CASE WHEN cardinality(taken) > 0 THEN 'ACCESS EXCLUSIVE' ELSE 'SHARE UPDATE EXCLUSIVE' END);
    FOREACH named IN ARRAY taken LOOP
        EXECUTE format('LOCK TABLE ONLY %I IN ACCESS EXCLUSIVE MODE', named);
    END LOOP;
END
$$;

-- A table with the columns and checks of `parent`, without its indexes, keys and partitions.
CREATE OR REPLACE FUNCTION edupulse_month_table(parent text, made text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_column(parent);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', made, parent);
END
$$;

-- Let a table hold rows of the month only; ATTACH then need not read it to know that.
CREATE OR REPLACE FUNCTION edupulse_month_bound(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT ck_month CHECK (%s)', made, edupulse_month_bounds(parent, month));
END
$$;

-- Give a table all that takes long and needs nobody's lock: bounds, key and indexes. Sorting gets more memory.
CREATE OR REPLACE FUNCTION edupulse_month_finish(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET maintenance_work_mem = '256MB' AS $$
DECLARE
    definition text;
BEGIN
    PERFORM edupulse_month_bound(parent, made, month);
    FOR definition IN
        SELECT pg_get_constraintdef(oid)
        FROM pg_constraint WHERE conrelid = to_regclass(quote_ident(parent)) AND contype = 'p'
    LOOP
        EXECUTE format('ALTER TABLE %I ADD %s', made, definition);
    END LOOP;
    FOR definition IN
        SELECT pg_get_indexdef(indexrelid)
        FROM pg_index
        WHERE indrelid = to_regclass(quote_ident(parent)) AND NOT indisprimary ORDER BY indexrelid
    LOOP
        -- Without a name: PostgreSQL finds one that is free, as for the indexes of a partition that it makes itself.
        EXECUTE format('CREATE %s ON %I %s',
                       CASE WHEN starts_with(definition, 'CREATE UNIQUE') THEN 'UNIQUE INDEX' ELSE 'INDEX' END,
                       made, substr(definition, strpos(definition, ' USING ')));
    END LOOP;
END
$$;

-- Give a table its name, and its indexes names that go with it where these are free.
CREATE OR REPLACE FUNCTION edupulse_month_rename(made text, final text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    named text;
    wanted text;
    beginning text;
BEGIN
    EXECUTE format('ALTER TABLE %I RENAME TO %I', made, final);
    FOR named IN
        SELECT i.relname
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid WHERE x.indrelid = to_regclass(quote_ident(final))
    LOOP
        -- PostgreSQL shortens the table's name in that of an index that would be too long.
        beginning := made;
        WHILE NOT starts_with(named, beginning) LOOP
            beginning := left(beginning, -1);
        END LOOP;
        wanted := final || substr(named, length(beginning) + 1);
        IF length(beginning) > length(made) - 8 AND to_regclass(quote_ident(wanted)) IS NULL THEN
            EXECUTE format('ALTER INDEX %I RENAME TO %I', named, wanted);
        END IF;
    END LOOP;
END
$$;

-- Move the month's rows out of the default partition, which otherwise forbids attaching it; how many.
CREATE OR REPLACE FUNCTION edupulse_month_take(parent text, made text, month date) RETURNS bigint
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    columns constant text := edupulse_month_columns(parent);
    moved bigint;
BEGIN
    EXECUTE format('WITH taken AS (DELETE FROM %I WHERE %s RETURNING %s) INSERT INTO %I (%s) SELECT %s FROM taken',
                   parent || '_default', edupulse_month_bounds(parent, month), columns, made, columns, columns);
    GET DIAGNOSTICS moved = ROW_COUNT;
    RETURN moved;
END
$$;

-- Make a finished table a partition, under the locks of `edupulse_month_locks`. Without a foreign key of its own: ATTACH
-- makes it and looks every row up. To adopt one that is there, it would want the other table to itself, and loads read
-- `students` from beginning to end. From then on it is guarded like every partition: rows are read and written through
-- the parent, and nobody but the owner has a privilege here.
CREATE OR REPLACE FUNCTION edupulse_month_attach(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp SET maintenance_work_mem = '256MB' AS $$
DECLARE
    granted record;
BEGIN
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, made, month, CAST(month + interval '1 month' AS date));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS ck_month', made);
    PERFORM edupulse_guard_rows(made);
    FOR granted IN
        SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS grantee
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = to_regclass(quote_ident(made)) AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %I FROM %s', made, granted.grantee);
    END LOOP;
END
$$;

-- The role that called a function that works as the tables' owner; an error unless it may write into the table.
CREATE OR REPLACE FUNCTION edupulse_month_writer(parent text) RETURNS name
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    caller constant name := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM edupulse_month_column(parent);
    IF NOT has_table_privilege(caller, quote_ident(parent), 'INSERT') THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s may not write into %s', caller, parent);
    END IF;
    RETURN caller;
END
$$;

-- The district that the transaction is for. An error without one: what a load brings belongs to somebody.
CREATE OR REPLACE FUNCTION edupulse_month_tenant() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    tenant constant text := nullif(current_setting('app.tenant', true), '');
BEGIN
    IF tenant IS NULL THEN
        RAISE insufficient_privilege USING MESSAGE = 'app.tenant is not set: the load is of no district';
    END IF;
    RETURN tenant;
END
$$;

-- An error unless the table is one that `edupulse_month_start` has made for `parent`.
CREATE OR REPLACE FUNCTION edupulse_month_demand_started(parent text, made text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF (made ~ ('^' || parent || '_load_[0-9a-f]{8}$')) IS NOT TRUE OR NOT EXISTS (
        SELECT FROM pg_class
        WHERE oid = to_regclass(quote_ident(made)) AND relkind = 'r' AND NOT relispartition
          AND pg_get_userbyid(relowner) = current_user
    ) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s is not a month of %s being built', made, parent);
    END IF;
END
$$;

-- An error unless `edupulse_month_end` has closed the table for this month and the transaction's district: it then has a
-- constraint that says so of every row, and nobody but the owner can write into it.
CREATE OR REPLACE FUNCTION edupulse_month_demand_ended(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    tenant constant text := edupulse_month_tenant();
BEGIN
    PERFORM edupulse_month_demand_started(parent, made);
    IF (
        SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint
        WHERE conrelid = to_regclass(quote_ident(made)) AND conname = 'ck_tenant' AND convalidated
    ) IS DISTINCT FROM format('%s of %s', month, tenant) THEN
        RAISE invalid_parameter_value
            USING MESSAGE = format('%s has not been ended for %s and this district', made, month);
    END IF;
END
$$;

-- For who writes rows: make a month, with its rows from the default partition; how many. NULL when its table is there.
CREATE OR REPLACE FUNCTION edupulse_month_make(parent text, month date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    made constant text := edupulse_month_name(parent, month);
    moved bigint;
BEGIN
    PERFORM edupulse_month_writer(parent);
    IF to_regclass(quote_ident(made)) IS NOT NULL THEN
        RETURN NULL;
    END IF;
    -- Made apart and attached: CREATE … PARTITION OF would wait for every reader of the whole table.
    PERFORM edupulse_month_locks(parent, '{}', 'SHARE ROW EXCLUSIVE');
    PERFORM edupulse_month_table(parent, made);
    moved := edupulse_month_take(parent, made, month);
    PERFORM edupulse_month_finish(parent, made, month);
    PERFORM edupulse_month_attach(parent, made, month);
    RETURN moved;
END
$$;

-- For who writes rows: a table to build a month in, which only the caller may fill; its name.
CREATE OR REPLACE FUNCTION edupulse_month_start(parent text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    caller constant name := edupulse_month_writer(parent);
    made constant text := parent || '_load_' || left(CAST(gen_random_uuid() AS text), 8);
BEGIN
    PERFORM edupulse_month_table(parent, made);
    IF NOT pg_has_role(caller, current_user, 'USAGE') THEN
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I', made, caller);
    END IF;
    RETURN made;
END
$$;

-- For who writes rows: close a table that has been filled to everybody, check that it holds rows of the month and of the
-- transaction's district only, and index it.
CREATE OR REPLACE FUNCTION edupulse_month_end(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    tenant constant text := edupulse_month_tenant();
    granted record;
BEGIN
    PERFORM edupulse_month_writer(parent), edupulse_month_name(parent, month);
    PERFORM edupulse_month_demand_started(parent, made);
    -- The lock of the constraint waits for whoever is writing; after it nobody has the right to.
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT ck_tenant CHECK (tenant_id = %L)', made, tenant);
    EXECUTE format('COMMENT ON CONSTRAINT ck_tenant ON %I IS %L', made, format('%s of %s', month, tenant));
    FOR granted IN
        SELECT DISTINCT quote_ident(pg_get_userbyid(a.grantee)) AS grantee
        FROM pg_class c, aclexplode(c.relacl) a
        WHERE c.oid = to_regclass(quote_ident(made)) AND a.grantee NOT IN (0, c.relowner)
    LOOP
        EXECUTE format('REVOKE ALL ON %I FROM %s', made, granted.grantee);
    END LOOP;
    PERFORM edupulse_month_finish(parent, made, month);
END
$$;

-- For who writes rows: how many rows the default partition holds by month, of every district or of the transaction's.
CREATE OR REPLACE FUNCTION edupulse_month_unclaimed(parent text, own boolean) RETURNS TABLE (month text, rows bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_writer(parent);
    RETURN QUERY EXECUTE format(
        'SELECT to_char(%1$I, CASE WHEN %1$I < DATE ''0001-01-01'' THEN ''YYYY-MM BC'' ELSE ''YYYY-MM'' END), count(*)'
        ' FROM %2$I WHERE NOT $1 OR tenant_id = $2 GROUP BY 1 ORDER BY 1',
        edupulse_month_column(parent), parent || '_default'
    ) USING own, nullif(current_setting('app.tenant', true), '');
END
$$;

-- For who writes rows: keep months from being attached until the transaction ends.
CREATE OR REPLACE FUNCTION edupulse_month_hold_default(parent text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_writer(parent);
    EXECUTE format('LOCK TABLE ONLY %I IN ROW EXCLUSIVE MODE', parent || '_default');
END
$$;

-- For who writes rows: make tables (of `edupulse_month_end`) the partitions of their months. `replaceable` are the
-- months whose empty partition may go; a month that has rows gets these as well.
CREATE OR REPLACE FUNCTION edupulse_month_place(parent text, made text[], months date[], replaceable date[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    columns constant text := edupulse_month_columns(parent);
    final text;
    present text;
BEGIN
    PERFORM edupulse_month_writer(parent);
    FOR place IN 1 .. cardinality(months) LOOP
        PERFORM edupulse_month_name(parent, months[place]),
            edupulse_month_demand_ended(parent, made[place], months[place]);
    END LOOP;
    IF cardinality(replaceable) > 0 OR EXISTS (
        SELECT FROM unnest(months) month WHERE edupulse_month_partition(parent, month) IS NULL
    ) THEN
        PERFORM edupulse_month_locks(
            parent,
            ARRAY(SELECT edupulse_month_partition(parent, month) FROM unnest(replaceable) month ORDER BY month),
            'SHARE ROW EXCLUSIVE'
        );
    END IF;
    FOR place IN 1 .. cardinality(months) LOOP
        present := edupulse_month_partition(parent, months[place]);
        -- Asked again: under the locks nobody can have written into it since.
        IF months[place] = ANY (replaceable) AND pg_relation_size(to_regclass(quote_ident(present))) = 0 THEN
            EXECUTE format('DROP TABLE %I', present);
        ELSIF present IS NOT NULL THEN
            EXECUTE format('INSERT INTO %I (%s) SELECT %s FROM %I', present, columns, columns, made[place]);
            EXECUTE format('DROP TABLE %I', made[place]);
            CONTINUE;
        END IF;
        final := edupulse_month_name(parent, months[place]);
        PERFORM edupulse_month_rename(made[place], final);
        -- The rows that the default partition has of the month may be of other districts.
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT ck_tenant', final);
        PERFORM edupulse_month_take(parent, final, months[place]);
        PERFORM edupulse_month_attach(parent, final, months[place]);
    END LOOP;
END
$$;
