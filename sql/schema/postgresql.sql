-- The schema of EduPulse on PostgreSQL.
-- Generated from edupulse_pipelines/schema/ by `make sql`; do not edit.

CREATE SEQUENCE IF NOT EXISTS audit_changes_number;

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

-- The `change_id` of the next statement of this transaction. The change has its number from now on; it is written once a
-- row has changed (`edupulse_audit_record`), so a number may be left out.
CREATE OR REPLACE FUNCTION edupulse_audit_next() RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    change bigint := nullif(current_setting('app.audit_change', true), '');
    statement bigint;
BEGIN
    IF change IS NULL THEN
        change := nextval('audit_changes_number');
        PERFORM set_config('app.audit_change', CAST(change AS text), true),
                set_config('app.audit_statement', '0', true);
    END IF;
    statement := CAST(current_setting('app.audit_statement') AS bigint) + 1;
    IF statement >= 1048576 THEN
        RAISE program_limit_exceeded USING MESSAGE = 'too many statements in one transaction to keep on record';
    END IF;
    PERFORM set_config('app.audit_statement', CAST(statement AS text), true);
    RETURN change * 1048576 + statement;
END
$$;

-- The `change_id` that the statement under way has; an error where its table has not the trigger that gives it one.
CREATE OR REPLACE FUNCTION edupulse_audit_number(operation text) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    number constant bigint := nullif(current_setting('app.audit_' || lower(operation), true), '');
BEGIN
    IF number IS NULL THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE =
            'the statement cannot be kept on record: triggers of the table are missing; run edupulse db upgrade';
    END IF;
    IF number / 1048576 IS DISTINCT FROM CAST(nullif(current_setting('app.audit_change', true), '') AS bigint) THEN
        RAISE insufficient_privilege USING MESSAGE = format('change %s is not this transaction''s', number / 1048576);
    END IF;
    RETURN number;
END
$$;

-- Before a statement: give it its `change_id`.
CREATE OR REPLACE FUNCTION edupulse_audit_begin() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM set_config('app.audit_' || lower(TG_OP), CAST(edupulse_audit_next() AS text), true);
    RETURN NULL;
END
$$;

-- Before TRUNCATE: refused, as nothing would say what was there.
CREATE OR REPLACE FUNCTION edupulse_audit_refuse_truncate() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE =
        format('%s is not truncated: changes of it are on record; delete rows instead', TG_TABLE_NAME);
END
$$;

-- Write what a statement did, and the change with the first one. An error unless the change is this transaction's and has
-- not been closed. It works with its caller's rights: only the owner may write into the record.
CREATE OR REPLACE FUNCTION edupulse_audit_record(
    number bigint, tenant text, of_table text, what text, how_many bigint, column_count integer, hash text,
    images_hash text, gone jsonb
) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    this constant bigint := nullif(current_setting('app.audit_change', true), '');
    own constant bigint := CAST(CAST(pg_current_xact_id() AS text) AS bigint);
BEGIN
    IF number / 1048576 IS DISTINCT FROM this THEN
        RAISE insufficient_privilege USING MESSAGE = format('change %s is not this transaction''s', number / 1048576);
    END IF;
    INSERT INTO audit_changes (id, tenant_id, actor, database_user, run_id, transaction_id)
    SELECT this, coalesce(nullif(current_setting('app.tenant', true), ''), tenant),
           coalesce(nullif(current_setting('app.actor', true), ''), session_user), session_user,
           nullif(current_setting('app.run_id', true), ''), own
    WHERE this <= (SELECT last_value FROM audit_changes_number)
    ON CONFLICT (id) DO NOTHING;
    IF NOT EXISTS (SELECT FROM audit_changes WHERE id = this AND transaction_id = own AND link IS NULL) THEN
        RAISE insufficient_privilege USING MESSAGE =
            format('change %s is not this transaction''s, or is closed already', this);
    END IF;
    IF EXISTS (
        SELECT FROM audit_entries e
        WHERE e.change_id = number AND e.tenant_id = tenant
          AND (e.table_name, e.rows, e.content) IS NOT DISTINCT FROM (of_table, how_many, hash)
    ) THEN
        RETURN; -- a month that was built apart, and then put into one that had rows
    END IF;
    IF EXISTS (SELECT FROM audit_entries e WHERE e.change_id = number AND e.tenant_id = tenant) THEN
        RAISE insufficient_privilege USING MESSAGE = 'a statement''s change_id is used by another one';
    END IF;
    INSERT INTO audit_entries
        (change_id, tenant_id, table_name, operation, rows, columns, content, images, replaced)
    VALUES (number, tenant, of_table, what, how_many, column_count, hash, images_hash, gone);
END
$$;

-- The hash of what a statement has replaced or removed in a district.
CREATE OR REPLACE FUNCTION edupulse_audit_images(number bigint, tenant text) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT encode(sha256(convert_to(string_agg(
            written_by || ':' || hash, E'\n' ORDER BY written_by, hash COLLATE "C"
        ), 'UTF8')), 'hex')
        FROM audit_images WHERE replaced_by = number AND tenant_id = tenant
    );
END
$$;

-- At the end of a transaction that changed rows: its link in the chain. The lock is held until the transaction is over,
-- so that links are made one after another.
CREATE OR REPLACE FUNCTION edupulse_audit_link() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    before record;
    this record;
    place bigint;
    at constant timestamptz := clock_timestamp();
    entries text;
BEGIN
    PERFORM pg_advisory_xact_lock(7022629598040908648);
    SELECT link_number, link INTO before FROM audit_changes WHERE link_number IS NOT NULL
    ORDER BY link_number DESC LIMIT 1;
    IF NOT FOUND THEN
        before.link_number := 0;
        SELECT encode(sha256(convert_to(coalesce(edupulse_audit_entries(0), ''), 'UTF8')), 'hex') INTO before.link;
    END IF;
    SELECT * INTO this FROM audit_changes WHERE id = NEW.id;
    place := before.link_number + 1;
    UPDATE audit_changes SET link_number = place, linked_at = at, link = encode(sha256(convert_to(
        concat_ws(chr(31), before.link, place, this.id, this.tenant_id, edupulse_audit_moment(this.changed_at),
                  this.actor, this.database_user, coalesce(this.run_id, ''), coalesce(CAST(this.transaction_id AS text), ''),
                  edupulse_audit_moment(at))
        || coalesce(edupulse_audit_entries(this.id), ''), 'UTF8')), 'hex')
    WHERE id = this.id;
    RETURN NULL;
END
$$;

-- The entries of a change as the chain binds them.
CREATE OR REPLACE FUNCTION edupulse_audit_entries(change bigint) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    RETURN (
        SELECT string_agg(
            chr(30) || concat_ws(chr(31), change_id, tenant_id, table_name, operation, rows,
                                 coalesce(CAST(columns AS text), ''), coalesce(content, ''), coalesce(images, ''),
                                 coalesce(CAST(replaced AS text), '')),
            '' ORDER BY change_id, tenant_id COLLATE "C", table_name COLLATE "C", operation COLLATE "C"
        )
        FROM audit_entries WHERE change_id >= change * 1048576 AND change_id < (change + 1) * 1048576
    );
END
$$;

-- A moment as the chain binds it: microseconds since 1970.
CREATE OR REPLACE FUNCTION edupulse_audit_moment(moment timestamp with time zone) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CAST(CAST(extract(epoch FROM moment) * 1000000 AS bigint) AS text);
END
$$;

-- Whether a change, by its number, has been put on record as leaving it (`edupulse audit retire`).
CREATE OR REPLACE FUNCTION edupulse_audit_is_retired(number bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    through constant bigint := (
        SELECT CAST(replaced ->> 'link_number' AS bigint) FROM audit_entries WHERE table_name = 'audit_changes'
        ORDER BY change_id DESC LIMIT 1
    );
BEGIN
    RETURN through IS NOT NULL
        AND (number = 0 OR EXISTS (SELECT FROM audit_changes WHERE id = number AND link_number <= through));
END
$$;

-- The record is only added to, and by the triggers: by whoever works as the owner. Two changes are allowed: a change gets
-- its link once, and an image is erased (`image` and `salt` become NULL; `row_key` and `student_id`, which may tell
-- something of the row, may be emptied). What has been put on record as leaving may be deleted.
CREATE OR REPLACE FUNCTION edupulse_audit_fixed() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NOT EXISTS (SELECT FROM pg_class WHERE oid = TG_RELID AND pg_get_userbyid(relowner) = current_user) THEN
            RAISE insufficient_privilege USING MESSAGE = format('%s is written by its triggers alone', TG_TABLE_NAME);
        END IF;
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit_changes' THEN
        IF to_jsonb(OLD) ->> 'link' IS NULL
           AND to_jsonb(NEW) - '{link,link_number,linked_at}'::text[] = to_jsonb(OLD) - '{link,link_number,linked_at}'::text[]
        THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'UPDATE' AND TG_TABLE_NAME = 'audit_images' THEN
        IF to_jsonb(NEW) ->> 'image' IS NULL AND to_jsonb(NEW) ->> 'salt' IS NULL
           AND to_jsonb(NEW) - '{image,salt,student_id,row_key}'::text[]
                   = to_jsonb(OLD) - '{image,salt,student_id,row_key}'::text[]
        THEN
            RETURN NEW;
        END IF;
    END IF;
    IF TG_OP = 'DELETE' AND edupulse_audit_is_retired(CASE TG_TABLE_NAME
        WHEN 'audit_changes' THEN CAST(to_jsonb(OLD) ->> 'id' AS bigint)
        WHEN 'audit_entries' THEN CAST(to_jsonb(OLD) ->> 'change_id' AS bigint) / 1048576
        ELSE CAST(to_jsonb(OLD) ->> 'replaced_by' AS bigint) / 1048576
    END) THEN
        RETURN OLD;
    END IF;
    RAISE insufficient_privilege USING MESSAGE = format('%s is only added to', TG_TABLE_NAME);
END
$$;

-- A month that is built apart: its rows have one `change_id`, whoever fills it.
CREATE OR REPLACE FUNCTION edupulse_audit_start(made text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_next();
BEGIN
    EXECUTE format('ALTER TABLE %I ALTER change_id SET DEFAULT %s, ADD CONSTRAINT ck_change CHECK (change_id = %s)',
                   made, number, number);
    EXECUTE format('COMMENT ON CONSTRAINT ck_change ON %I IS %L', made, number / 1048576);
END
$$;

-- A table that was filled apart becomes one like the others: what it is given from now on is asked of the statement.
CREATE OR REPLACE FUNCTION edupulse_audit_release(made text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS ck_change, ALTER change_id SET DEFAULT %s',
                   made, $default$CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint)$default$);
END
$$;

-- For who writes rows: account for a month that was built apart by the hash of the bytes that were sent for its rows, in
-- order of their ids, which spares the server making it. An error unless so many rows are there, all of one district.
CREATE OR REPLACE FUNCTION edupulse_audit_built(parent text, made text, how_many bigint, hash text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    piece record;
BEGIN
    PERFORM edupulse_month_writer(parent), edupulse_month_demand_started(parent, made);
    EXECUTE format('SELECT min(tenant_id) AS tenant_id, min(change_id) AS change_id, count(*) AS rows,
                           count(DISTINCT tenant_id) AS tenants FROM %I', made) INTO piece;
    IF piece.tenants <> 1 OR piece.rows IS DISTINCT FROM how_many THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            '%s holds %s rows of %s districts, not %s of one', made, piece.rows, piece.tenants, how_many
        );
    END IF;
    PERFORM edupulse_audit_record(
        piece.change_id, piece.tenant_id, parent, 'insert', how_many, edupulse_audit_columns(parent), hash, NULL, NULL
    );
END
$$;

-- How many audited columns a partitioned table has.
CREATE OR REPLACE FUNCTION edupulse_audit_columns(parent text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    columns constant jsonb := '{"attendance_records": 10}';
BEGIN
    RETURN CAST(columns ->> parent AS integer);
END
$$;

-- The hash of a district's rows in a table that is, or is to be, a month of a partitioned one: of those that a statement
-- wrote, or of all of them; of all of them it is made of the rows' own hashes, as there may be very many.
CREATE OR REPLACE FUNCTION edupulse_audit_content(parent text, made text, tenant text, number bigint) RETURNS text
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    bytes constant jsonb := $bytes${"attendance_records": "'\\x000a'::bytea\n        || ('\\x00000010'::bytea || uuid_send(r.id))\n        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))\n        || ('\\x00000010'::bytea || uuid_send(r.student_id))\n        || ('\\x00000004'::bytea || date_send(r.date))\n        || (int4send(octet_length(r.status)) || convert_to(r.status, 'UTF8'))\n        || coalesce('\\x00000004'::bytea || int4send(r.period), '\\xffffffff'::bytea)\n        || coalesce('\\x00000004'::bytea || date_send(r.deleted_on), '\\xffffffff'::bytea)\n        || coalesce('\\x00000004'::bytea || int4send(r.minutes_absent), '\\xffffffff'::bytea)\n        || coalesce('\\x00000004'::bytea || int4send(r.minutes_possible), '\\xffffffff'::bytea)\n        || coalesce(int4send(octet_length(r.school_id)) || convert_to(r.school_id, 'UTF8'), '\\xffffffff'::bytea)"}$bytes$;
    found text;
BEGIN
    EXECUTE format(
        $hash$SELECT encode(sha256(string_agg(CASE WHEN $2 IS NULL THEN sha256(sent) ELSE sent END, ''::bytea ORDER BY sent)), 'hex')
              FROM (SELECT %s AS sent FROM %I r WHERE tenant_id = $1 AND ($2 IS NULL OR change_id = $2)) rows$hash$,
        bytes ->> parent, made
    ) INTO found USING tenant, number;
    RETURN found;
END
$$;

-- Before a month is attached: account for those of its rows that this transaction has written into it and nobody has
-- accounted for yet; an error where there are more than accounted for.
CREATE OR REPLACE FUNCTION edupulse_audit_arrive(parent text, made text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    this constant bigint := nullif(current_setting('app.audit_change', true), '');
    piece record;
    known bigint;
BEGIN
    FOR piece IN EXECUTE format(
        'SELECT tenant_id, change_id, count(*) AS rows FROM %I WHERE change_id >= $1 AND change_id < $2 GROUP BY 1, 2', made
    ) USING this * 1048576, (this + 1) * 1048576 LOOP
        SELECT e.rows INTO known FROM audit_entries e
        WHERE e.change_id = piece.change_id AND e.tenant_id = piece.tenant_id;
        IF NOT FOUND THEN
            PERFORM edupulse_audit_record(
                piece.change_id, piece.tenant_id, parent, 'insert', piece.rows, edupulse_audit_columns(parent),
                edupulse_audit_content(parent, made, piece.tenant_id, piece.change_id), NULL, NULL
            );
        ELSIF known < piece.rows THEN
            RAISE object_not_in_prerequisite_state USING MESSAGE =
                format('%s has %s rows of a statement that wrote %s', made, piece.rows, known);
        END IF;
    END LOOP;
END
$$;

-- Put the triggers of statements on a partition: those of the whole table do not fire where a partition is named.
CREATE OR REPLACE FUNCTION edupulse_audit_guard(parent text, partition text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    triggers constant jsonb := $triggers${"attendance_records": ["CREATE OR REPLACE TRIGGER tr_attendance_records_audit_begin BEFORE INSERT OR UPDATE OR DELETE\nON @ FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin()", "CREATE OR REPLACE TRIGGER tr_attendance_records_audit_inserted AFTER INSERT\nON @ REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_records()", "CREATE OR REPLACE TRIGGER tr_attendance_records_audit_updated AFTER UPDATE\nON @ REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_records()", "CREATE OR REPLACE TRIGGER tr_attendance_records_audit_deleted AFTER DELETE\nON @ FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_records()", "CREATE OR REPLACE TRIGGER tr_attendance_records_audit_truncate BEFORE TRUNCATE\nON @ FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate()"]}$triggers$;
    made text;
BEGIN
    FOR made IN SELECT jsonb_array_elements_text(triggers -> parent) LOOP
        EXECUTE replace(made, '@', quote_ident(partition));
    END LOOP;
END
$$;

-- For the owner: put on record that a month is taken out of a table (`detach`) or brought back (`attach`).
CREATE OR REPLACE FUNCTION edupulse_audit_moved(parent text, partition text, what text) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_next();
    piece record;
    named text;
BEGIN
    FOR piece IN EXECUTE format(
        'SELECT tenant_id, CAST(sum(rows) AS bigint) AS rows, jsonb_object_agg(change_id, rows) AS by_change
         FROM (SELECT tenant_id, change_id, count(*) AS rows FROM %I GROUP BY 1, 2) counted GROUP BY tenant_id', partition
    ) LOOP
        PERFORM edupulse_audit_record(
            number, piece.tenant_id, parent, what, piece.rows, edupulse_audit_columns(parent),
            edupulse_audit_content(parent, partition, piece.tenant_id, NULL), NULL, piece.by_change
        );
    END LOOP;
    IF what = 'detach' THEN
        FOR named IN
            SELECT tgname FROM pg_trigger
            WHERE tgrelid = to_regclass(quote_ident(partition)) AND starts_with(tgname, 'tr_') AND NOT tgisinternal
              AND tgparentid = 0
        LOOP
            EXECUTE format('DROP TRIGGER %I ON %I', named, partition);
        END LOOP;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_students() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'students', CAST(OLD.id AS text), OLD.id, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'first_name', OLD.first_name, 'last_name', OLD.last_name, 'grade_level', OLD.grade_level, 'date_of_birth', OLD.date_of_birth, 'gender', OLD.gender, 'ethnicity', OLD.ethnicity, 'socioeconomic_status', OLD.socioeconomic_status, 'gpa', OLD.gpa, 'attendance_rate', OLD.attendance_rate, 'parent_contact', OLD.parent_contact, 'enrollment_date', OLD.enrollment_date, 'exit_date', OLD.exit_date, 'exit_type', OLD.exit_type, 'student_metadata', OLD.student_metadata, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0012'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.district_id)) || convert_to(OLD.district_id, 'UTF8'))
        || (int4send(octet_length(OLD.first_name)) || convert_to(OLD.first_name, 'UTF8'))
        || (int4send(octet_length(OLD.last_name)) || convert_to(OLD.last_name, 'UTF8'))
        || coalesce('\x00000004'::bytea || int4send(OLD.grade_level), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(OLD.date_of_birth))
        || coalesce(int4send(octet_length(OLD.gender)) || convert_to(OLD.gender, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.ethnicity)) || convert_to(OLD.ethnicity, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.socioeconomic_status)) || convert_to(OLD.socioeconomic_status, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(OLD.gpa), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(OLD.attendance_rate), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.parent_contact)) || convert_to(OLD.parent_contact, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(OLD.enrollment_date))
        || coalesce('\x00000004'::bytea || date_send(OLD.exit_date), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.exit_type)) || convert_to(OLD.exit_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(OLD.student_metadata))) || jsonb_send(OLD.student_metadata), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(OLD.deleted_on), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_students() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'students', 'delete', piece.rows, 18, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0012'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.district_id)) || convert_to(r.district_id, 'UTF8'))
        || (int4send(octet_length(r.first_name)) || convert_to(r.first_name, 'UTF8'))
        || (int4send(octet_length(r.last_name)) || convert_to(r.last_name, 'UTF8'))
        || coalesce('\x00000004'::bytea || int4send(r.grade_level), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(r.date_of_birth))
        || coalesce(int4send(octet_length(r.gender)) || convert_to(r.gender, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.ethnicity)) || convert_to(r.ethnicity, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.socioeconomic_status)) || convert_to(r.socioeconomic_status, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(r.gpa), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(r.attendance_rate), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.parent_contact)) || convert_to(r.parent_contact, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(r.enrollment_date))
        || coalesce('\x00000004'::bytea || date_send(r.exit_date), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.exit_type)) || convert_to(r.exit_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.student_metadata))) || jsonb_send(r.student_metadata), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(r.deleted_on), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'students', lower(TG_OP), piece.rows, 18, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_schools() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'schools', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'school_id', OLD.school_id, 'name', OLD.name, 'level', OLD.level, 'lowest_grade', OLD.lowest_grade, 'highest_grade', OLD.highest_grade, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0008'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.school_id)) || convert_to(OLD.school_id, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.name)) || convert_to(OLD.name, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.level)) || convert_to(OLD.level, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.lowest_grade)) || convert_to(OLD.lowest_grade, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.highest_grade)) || convert_to(OLD.highest_grade, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(OLD.deleted_on), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_schools() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'schools', 'delete', piece.rows, 8, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0008'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.school_id)) || convert_to(r.school_id, 'UTF8'))
        || coalesce(int4send(octet_length(r.name)) || convert_to(r.name, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.level)) || convert_to(r.level, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.lowest_grade)) || convert_to(r.lowest_grade, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.highest_grade)) || convert_to(r.highest_grade, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(r.deleted_on), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'schools', lower(TG_OP), piece.rows, 8, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_enrollments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'enrollments', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'school_id', OLD.school_id, 'entry_date', OLD.entry_date, 'exit_date', OLD.exit_date, 'exit_type', OLD.exit_type, 'grade_level', OLD.grade_level, 'is_primary', OLD.is_primary, 'source_record_id', OLD.source_record_id, 'origin', OLD.origin, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'taken_back_for', OLD.taken_back_for, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000d'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || coalesce(int4send(octet_length(OLD.school_id)) || convert_to(OLD.school_id, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(OLD.entry_date))
        || coalesce('\x00000004'::bytea || date_send(OLD.exit_date), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.exit_type)) || convert_to(OLD.exit_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(OLD.grade_level), '\xffffffff'::bytea)
        || coalesce('\x00000001'::bytea || boolsend(OLD.is_primary), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.source_record_id)) || convert_to(OLD.source_record_id, 'UTF8'), '\xffffffff'::bytea)
        || (int4send(octet_length(OLD.origin)) || convert_to(OLD.origin, 'UTF8'))
        || coalesce('\x00000004'::bytea || date_send(OLD.deleted_on), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.taken_back_for)) || convert_to(OLD.taken_back_for, 'UTF8'), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_enrollments() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'enrollments', 'delete', piece.rows, 13, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000d'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || coalesce(int4send(octet_length(r.school_id)) || convert_to(r.school_id, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(r.entry_date))
        || coalesce('\x00000004'::bytea || date_send(r.exit_date), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.exit_type)) || convert_to(r.exit_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.grade_level), '\xffffffff'::bytea)
        || coalesce('\x00000001'::bytea || boolsend(r.is_primary), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.source_record_id)) || convert_to(r.source_record_id, 'UTF8'), '\xffffffff'::bytea)
        || (int4send(octet_length(r.origin)) || convert_to(r.origin, 'UTF8'))
        || coalesce('\x00000004'::bytea || date_send(r.deleted_on), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.taken_back_for)) || convert_to(r.taken_back_for, 'UTF8'), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'enrollments', lower(TG_OP), piece.rows, 13, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_enrollment_statements() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'enrollment_statements', CAST(OLD.student_id AS text) || '|' || CAST(OLD.said AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'said', OLD.said, 'first_delivered_on', OLD.first_delivered_on, 'delivered_on', OLD.delivered_on, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0003'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || (int4send(octet_length(OLD.said)) || convert_to(OLD.said, 'UTF8'))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_enrollment_statements() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'enrollment_statements', 'delete', piece.rows, 3, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0003'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || (int4send(octet_length(r.said)) || convert_to(r.said, 'UTF8')) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'enrollment_statements', lower(TG_OP), piece.rows, 3, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_attendance_records() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.date IS DISTINCT FROM NEW.date THEN
        RAISE feature_not_supported
            USING MESSAGE = 'the date of a row is not changed: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'attendance_records', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'date', OLD.date, 'status', OLD.status, 'period', OLD.period, 'delivered_on', OLD.delivered_on, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'minutes_absent', OLD.minutes_absent, 'minutes_possible', OLD.minutes_possible, 'field_deliveries', OLD.field_deliveries, 'school_id', OLD.school_id, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000a'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || ('\x00000004'::bytea || date_send(OLD.date))
        || (int4send(octet_length(OLD.status)) || convert_to(OLD.status, 'UTF8'))
        || coalesce('\x00000004'::bytea || int4send(OLD.period), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(OLD.deleted_on), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(OLD.minutes_absent), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(OLD.minutes_possible), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.school_id)) || convert_to(OLD.school_id, 'UTF8'), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_attendance_records() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'attendance_records', 'delete', piece.rows, 10, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000a'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || ('\x00000004'::bytea || date_send(r.date))
        || (int4send(octet_length(r.status)) || convert_to(r.status, 'UTF8'))
        || coalesce('\x00000004'::bytea || int4send(r.period), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(r.deleted_on), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.minutes_absent), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.minutes_possible), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.school_id)) || convert_to(r.school_id, 'UTF8'), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'attendance_records', lower(TG_OP), piece.rows, 10, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_attendance_statements() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'attendance_statements', CAST(OLD.student_id AS text) || '|' || CAST(OLD.date AS text) || '|' || CAST(OLD.period AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'date', OLD.date, 'period', OLD.period, 'said', OLD.said, 'at_several', OLD.at_several, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0006'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || ('\x00000004'::bytea || date_send(OLD.date))
        || ('\x00000004'::bytea || int4send(OLD.period))
        || (int4send(octet_length(jsonb_send(OLD.said))) || jsonb_send(OLD.said))
        || ('\x00000001'::bytea || boolsend(OLD.at_several))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_attendance_statements() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'attendance_statements', 'delete', piece.rows, 6, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0006'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || ('\x00000004'::bytea || date_send(r.date))
        || ('\x00000004'::bytea || int4send(r.period))
        || (int4send(octet_length(jsonb_send(r.said))) || jsonb_send(r.said))
        || ('\x00000001'::bytea || boolsend(r.at_several)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'attendance_statements', lower(TG_OP), piece.rows, 6, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_grades() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'grades', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'record_key', OLD.record_key, 'source_record_id', OLD.source_record_id, 'course_id', OLD.course_id, 'course_name', OLD.course_name, 'grade_value', OLD.grade_value, 'grade_letter', OLD.grade_letter, 'submission_date', OLD.submission_date, 'assignment_type', OLD.assignment_type, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id, 'assignment_id', OLD.assignment_id, 'due_date', OLD.due_date),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000e'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || (int4send(octet_length(OLD.record_key)) || convert_to(OLD.record_key, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.source_record_id)) || convert_to(OLD.source_record_id, 'UTF8'), '\xffffffff'::bytea)
        || (int4send(octet_length(OLD.course_id)) || convert_to(OLD.course_id, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.course_name)) || convert_to(OLD.course_name, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(OLD.grade_value), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.grade_letter)) || convert_to(OLD.grade_letter, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(OLD.submission_date))
        || coalesce(int4send(octet_length(OLD.assignment_type)) || convert_to(OLD.assignment_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(OLD.deleted_on), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.assignment_id)) || convert_to(OLD.assignment_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(OLD.due_date), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_grades() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'grades', 'delete', piece.rows, 14, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000e'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || (int4send(octet_length(r.record_key)) || convert_to(r.record_key, 'UTF8'))
        || coalesce(int4send(octet_length(r.source_record_id)) || convert_to(r.source_record_id, 'UTF8'), '\xffffffff'::bytea)
        || (int4send(octet_length(r.course_id)) || convert_to(r.course_id, 'UTF8'))
        || coalesce(int4send(octet_length(r.course_name)) || convert_to(r.course_name, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(r.grade_value), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.grade_letter)) || convert_to(r.grade_letter, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(r.submission_date))
        || coalesce(int4send(octet_length(r.assignment_type)) || convert_to(r.assignment_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(r.deleted_on), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.assignment_id)) || convert_to(r.assignment_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(r.due_date), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'grades', lower(TG_OP), piece.rows, 14, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_discipline_incidents() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'discipline_incidents', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'record_key', OLD.record_key, 'source_record_id', OLD.source_record_id, 'incident_date', OLD.incident_date, 'severity_level', OLD.severity_level, 'incident_type', OLD.incident_type, 'description', OLD.description, 'resolution', OLD.resolution, 'delivered_on', OLD.delivered_on, 'field_deliveries', OLD.field_deliveries, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000b'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || (int4send(octet_length(OLD.record_key)) || convert_to(OLD.record_key, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.source_record_id)) || convert_to(OLD.source_record_id, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(OLD.incident_date))
        || ('\x00000004'::bytea || int4send(OLD.severity_level))
        || coalesce(int4send(octet_length(OLD.incident_type)) || convert_to(OLD.incident_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.description)) || convert_to(OLD.description, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.resolution)) || convert_to(OLD.resolution, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(OLD.deleted_on), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_discipline_incidents() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'discipline_incidents', 'delete', piece.rows, 11, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000b'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || (int4send(octet_length(r.record_key)) || convert_to(r.record_key, 'UTF8'))
        || coalesce(int4send(octet_length(r.source_record_id)) || convert_to(r.source_record_id, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || date_send(r.incident_date))
        || ('\x00000004'::bytea || int4send(r.severity_level))
        || coalesce(int4send(octet_length(r.incident_type)) || convert_to(r.incident_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.description)) || convert_to(r.description, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.resolution)) || convert_to(r.resolution, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(r.deleted_on), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'discipline_incidents', lower(TG_OP), piece.rows, 11, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_student_features() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_student_features() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN
            SELECT tenant_id, CAST(sum(rows) AS bigint) AS rows, jsonb_object_agg(change_id, rows) AS gone
            FROM (SELECT tenant_id, change_id, count(*) AS rows FROM removed GROUP BY 1, 2) counted GROUP BY 1
        LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'student_features', 'delete', piece.rows, NULL, NULL, NULL, piece.gone
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0007'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || ('\x00000004'::bytea || date_send(r.feature_date))
        || coalesce('\x00000008'::bytea || float8send(r.attendance_rate), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(r.gpa_current), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.discipline_incidents), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.feature_vector))) || jsonb_send(r.feature_vector), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        IF TG_OP = 'UPDATE' THEN
            SELECT jsonb_object_agg(change_id, rows) INTO gone FROM (
                SELECT r.change_id, count(*) AS rows FROM removed r JOIN added a ON a.student_id = r.student_id AND a.feature_date = r.feature_date
                WHERE a.change_id = number AND a.tenant_id = piece.tenant_id GROUP BY 1
            ) counted;
        END IF;
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'student_features', lower(TG_OP), piece.rows, 7, piece.content,
            NULL, gone
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_model_metadata() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'model_metadata', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'model_type', OLD.model_type, 'training_date', OLD.training_date, 'performance_metrics', OLD.performance_metrics, 'hyperparameters', OLD.hyperparameters, 'is_active', OLD.is_active, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'data_through', OLD.data_through, 'data_hash', OLD.data_hash, 'settings_hash', OLD.settings_hash, 'promoted', OLD.promoted, 'set_aside', OLD.set_aside, 'mlflow_run_id', OLD.mlflow_run_id, 'mlflow_model_id', OLD.mlflow_model_id, 'registered_model', OLD.registered_model, 'registry_version', OLD.registry_version, 'artifact_sha256', OLD.artifact_sha256, 'artifact_uri', OLD.artifact_uri, 'label_hash', OLD.label_hash, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0014'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.model_version)) || convert_to(OLD.model_version, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.model_type)) || convert_to(OLD.model_type, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(OLD.training_date))
        || coalesce(int4send(octet_length(jsonb_send(OLD.performance_metrics))) || jsonb_send(OLD.performance_metrics), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(OLD.hyperparameters))) || jsonb_send(OLD.hyperparameters), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(OLD.is_active))
        || coalesce('\x00000004'::bytea || date_send(OLD.data_through), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.data_hash)) || convert_to(OLD.data_hash, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.settings_hash)) || convert_to(OLD.settings_hash, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(OLD.promoted))
        || ('\x00000001'::bytea || boolsend(OLD.set_aside))
        || coalesce(int4send(octet_length(OLD.mlflow_run_id)) || convert_to(OLD.mlflow_run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.mlflow_model_id)) || convert_to(OLD.mlflow_model_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.registered_model)) || convert_to(OLD.registered_model, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.registry_version)) || convert_to(OLD.registry_version, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.artifact_sha256)) || convert_to(OLD.artifact_sha256, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.artifact_uri)) || convert_to(OLD.artifact_uri, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.label_hash)) || convert_to(OLD.label_hash, 'UTF8'), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_model_metadata() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'model_metadata', 'delete', piece.rows, 20, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0014'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.model_version)) || convert_to(r.model_version, 'UTF8'))
        || coalesce(int4send(octet_length(r.model_type)) || convert_to(r.model_type, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(r.training_date))
        || coalesce(int4send(octet_length(jsonb_send(r.performance_metrics))) || jsonb_send(r.performance_metrics), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.hyperparameters))) || jsonb_send(r.hyperparameters), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(r.is_active))
        || coalesce('\x00000004'::bytea || date_send(r.data_through), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.data_hash)) || convert_to(r.data_hash, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.settings_hash)) || convert_to(r.settings_hash, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(r.promoted))
        || ('\x00000001'::bytea || boolsend(r.set_aside))
        || coalesce(int4send(octet_length(r.mlflow_run_id)) || convert_to(r.mlflow_run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.mlflow_model_id)) || convert_to(r.mlflow_model_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.registered_model)) || convert_to(r.registered_model, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.registry_version)) || convert_to(r.registry_version, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.artifact_sha256)) || convert_to(r.artifact_sha256, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.artifact_uri)) || convert_to(r.artifact_uri, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.label_hash)) || convert_to(r.label_hash, 'UTF8'), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'model_metadata', lower(TG_OP), piece.rows, 20, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_predictions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'predictions', CAST(OLD.id AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'feature_date', OLD.feature_date, 'prediction_date', OLD.prediction_date, 'risk_score', OLD.risk_score, 'risk_category', OLD.risk_category, 'confidence', OLD.confidence, 'risk_factors', OLD.risk_factors, 'model_version', OLD.model_version, 'rescored', OLD.rescored, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'rule_score', OLD.rule_score, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000c'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || ('\x00000004'::bytea || date_send(OLD.feature_date))
        || ('\x00000008'::bytea || timestamptz_send(OLD.prediction_date))
        || coalesce('\x00000008'::bytea || float8send(OLD.risk_score), '\xffffffff'::bytea)
        || (int4send(octet_length(OLD.risk_category)) || convert_to(OLD.risk_category, 'UTF8'))
        || coalesce('\x00000008'::bytea || float8send(OLD.confidence), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(OLD.risk_factors))) || jsonb_send(OLD.risk_factors), '\xffffffff'::bytea)
        || (int4send(octet_length(OLD.model_version)) || convert_to(OLD.model_version, 'UTF8'))
        || ('\x00000001'::bytea || boolsend(OLD.rescored))
        || coalesce('\x00000008'::bytea || float8send(OLD.rule_score), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_predictions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'predictions', 'delete', piece.rows, 12, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000c'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || ('\x00000004'::bytea || date_send(r.feature_date))
        || ('\x00000008'::bytea || timestamptz_send(r.prediction_date))
        || coalesce('\x00000008'::bytea || float8send(r.risk_score), '\xffffffff'::bytea)
        || (int4send(octet_length(r.risk_category)) || convert_to(r.risk_category, 'UTF8'))
        || coalesce('\x00000008'::bytea || float8send(r.confidence), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.risk_factors))) || jsonb_send(r.risk_factors), '\xffffffff'::bytea)
        || (int4send(octet_length(r.model_version)) || convert_to(r.model_version, 'UTF8'))
        || ('\x00000001'::bytea || boolsend(r.rescored))
        || coalesce('\x00000008'::bytea || float8send(r.rule_score), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'predictions', lower(TG_OP), piece.rows, 12, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_training_feedback() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'training_feedback', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'prediction_id', OLD.prediction_id, 'record_key', OLD.record_key, 'outcome_date', OLD.outcome_date, 'outcome_type', OLD.outcome_type, 'feedback_type', OLD.feedback_type, 'educator_notes', OLD.educator_notes, 'delivered_on', OLD.delivered_on, 'created_at', OLD.created_at, 'updated_at', OLD.updated_at, 'deleted_on', OLD.deleted_on, 'reviewer', OLD.reviewer, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000a'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.prediction_id))
        || (int4send(octet_length(OLD.record_key)) || convert_to(OLD.record_key, 'UTF8'))
        || coalesce('\x00000004'::bytea || date_send(OLD.outcome_date), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.outcome_type)) || convert_to(OLD.outcome_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.feedback_type)) || convert_to(OLD.feedback_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.educator_notes)) || convert_to(OLD.educator_notes, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(OLD.deleted_on), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.reviewer)) || convert_to(OLD.reviewer, 'UTF8'), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_training_feedback() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'training_feedback', 'delete', piece.rows, 10, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000a'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.prediction_id))
        || (int4send(octet_length(r.record_key)) || convert_to(r.record_key, 'UTF8'))
        || coalesce('\x00000004'::bytea || date_send(r.outcome_date), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.outcome_type)) || convert_to(r.outcome_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.feedback_type)) || convert_to(r.feedback_type, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.educator_notes)) || convert_to(r.educator_notes, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || date_send(r.deleted_on), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.reviewer)) || convert_to(r.reviewer, 'UTF8'), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'training_feedback', lower(TG_OP), piece.rows, 10, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_model_evaluations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'model_evaluations', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.model_version AS text) || '|' || CAST(OLD.candidate AS text) || '|' || CAST(OLD.scope AS text) || '|' || CAST(OLD.as_of_date AS text) || '|' || CAST(OLD.metric AS text) || '|' || CAST(OLD.parameter AS text) || '|' || CAST(OLD.subgroup AS text), NULL, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'candidate', OLD.candidate, 'scope', OLD.scope, 'as_of_date', OLD.as_of_date, 'metric', OLD.metric, 'parameter', OLD.parameter, 'subgroup', OLD.subgroup, 'value', OLD.value, 'samples', OLD.samples, 'evaluated_at', OLD.evaluated_at, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000b'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.model_version)) || convert_to(OLD.model_version, 'UTF8'))
        || (int4send(octet_length(OLD.candidate)) || convert_to(OLD.candidate, 'UTF8'))
        || (int4send(octet_length(OLD.scope)) || convert_to(OLD.scope, 'UTF8'))
        || ('\x00000004'::bytea || date_send(OLD.as_of_date))
        || (int4send(octet_length(OLD.metric)) || convert_to(OLD.metric, 'UTF8'))
        || (int4send(octet_length(OLD.parameter)) || convert_to(OLD.parameter, 'UTF8'))
        || (int4send(octet_length(OLD.subgroup)) || convert_to(OLD.subgroup, 'UTF8'))
        || coalesce('\x00000008'::bytea || float8send(OLD.value), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || int8send(OLD.samples), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(OLD.evaluated_at))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_model_evaluations() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'model_evaluations', 'delete', piece.rows, 11, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000b'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.model_version)) || convert_to(r.model_version, 'UTF8'))
        || (int4send(octet_length(r.candidate)) || convert_to(r.candidate, 'UTF8'))
        || (int4send(octet_length(r.scope)) || convert_to(r.scope, 'UTF8'))
        || ('\x00000004'::bytea || date_send(r.as_of_date))
        || (int4send(octet_length(r.metric)) || convert_to(r.metric, 'UTF8'))
        || (int4send(octet_length(r.parameter)) || convert_to(r.parameter, 'UTF8'))
        || (int4send(octet_length(r.subgroup)) || convert_to(r.subgroup, 'UTF8'))
        || coalesce('\x00000008'::bytea || float8send(r.value), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || int8send(r.samples), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(r.evaluated_at)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'model_evaluations', lower(TG_OP), piece.rows, 11, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_promotion_decisions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'promotion_decisions', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'model_version', OLD.model_version, 'kind', OLD.kind, 'promoted', OLD.promoted, 'previous_version', OLD.previous_version, 'reason', OLD.reason, 'numbers', OLD.numbers, 'decided_at', OLD.decided_at, 'run_id', OLD.run_id, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000a'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.model_version)) || convert_to(OLD.model_version, 'UTF8'))
        || (int4send(octet_length(OLD.kind)) || convert_to(OLD.kind, 'UTF8'))
        || ('\x00000001'::bytea || boolsend(OLD.promoted))
        || coalesce(int4send(octet_length(OLD.previous_version)) || convert_to(OLD.previous_version, 'UTF8'), '\xffffffff'::bytea)
        || (int4send(octet_length(OLD.reason)) || convert_to(OLD.reason, 'UTF8'))
        || (int4send(octet_length(jsonb_send(OLD.numbers))) || jsonb_send(OLD.numbers))
        || ('\x00000008'::bytea || timestamptz_send(OLD.decided_at))
        || coalesce(int4send(octet_length(OLD.run_id)) || convert_to(OLD.run_id, 'UTF8'), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_promotion_decisions() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'promotion_decisions', 'delete', piece.rows, 10, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000a'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.model_version)) || convert_to(r.model_version, 'UTF8'))
        || (int4send(octet_length(r.kind)) || convert_to(r.kind, 'UTF8'))
        || ('\x00000001'::bytea || boolsend(r.promoted))
        || coalesce(int4send(octet_length(r.previous_version)) || convert_to(r.previous_version, 'UTF8'), '\xffffffff'::bytea)
        || (int4send(octet_length(r.reason)) || convert_to(r.reason, 'UTF8'))
        || (int4send(octet_length(jsonb_send(r.numbers))) || jsonb_send(r.numbers))
        || ('\x00000008'::bytea || timestamptz_send(r.decided_at))
        || coalesce(int4send(octet_length(r.run_id)) || convert_to(r.run_id, 'UTF8'), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'promotion_decisions', lower(TG_OP), piece.rows, 10, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_review_proposals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'review_proposals', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'prediction_id', OLD.prediction_id, 'feature_date', OLD.feature_date, 'drawn_from', OLD.drawn_from, 'proposed_at', OLD.proposed_at, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0006'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.prediction_id))
        || ('\x00000004'::bytea || date_send(OLD.feature_date))
        || ('\x00000004'::bytea || int4send(OLD.drawn_from))
        || ('\x00000008'::bytea || timestamptz_send(OLD.proposed_at))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_review_proposals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'review_proposals', 'delete', piece.rows, 6, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0006'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.prediction_id))
        || ('\x00000004'::bytea || date_send(r.feature_date))
        || ('\x00000004'::bytea || int4send(r.drawn_from))
        || ('\x00000008'::bytea || timestamptz_send(r.proposed_at)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'review_proposals', lower(TG_OP), piece.rows, 6, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_ingested_files() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'ingested_files', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'table_name', OLD.table_name, 'delivered_on', OLD.delivered_on, 'file_name', OLD.file_name, 'sha256', OLD.sha256, 'size_bytes', OLD.size_bytes, 'status', OLD.status, 'reason', OLD.reason, 'detail', OLD.detail, 'unknown_columns', OLD.unknown_columns, 'rows_read', OLD.rows_read, 'rows_inserted', OLD.rows_inserted, 'rows_updated', OLD.rows_updated, 'rows_unchanged', OLD.rows_unchanged, 'rows_quarantined', OLD.rows_quarantined, 'archived_at', OLD.archived_at, 'loaded_at', OLD.loaded_at, 'run_id', OLD.run_id, 'source_format', OLD.source_format, 'left_out', OLD.left_out, 'snapshot', OLD.snapshot, 'rows_deleted', OLD.rows_deleted, 'confirms_only', OLD.confirms_only, 'landed_state', OLD.landed_state, 'removals', OLD.removals, 'rows_by_week', OLD.rows_by_week, 'archive_sha256', OLD.archive_sha256, 'rows_erased', OLD.rows_erased, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x001c'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.table_name)) || convert_to(OLD.table_name, 'UTF8'))
        || ('\x00000004'::bytea || date_send(OLD.delivered_on))
        || (int4send(octet_length(OLD.file_name)) || convert_to(OLD.file_name, 'UTF8'))
        || (int4send(octet_length(OLD.sha256)) || convert_to(OLD.sha256, 'UTF8'))
        || ('\x00000008'::bytea || int8send(OLD.size_bytes))
        || (int4send(octet_length(OLD.status)) || convert_to(OLD.status, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.reason)) || convert_to(OLD.reason, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.detail)) || convert_to(OLD.detail, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(OLD.unknown_columns))) || jsonb_send(OLD.unknown_columns), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || int8send(OLD.rows_read))
        || ('\x00000008'::bytea || int8send(OLD.rows_inserted))
        || ('\x00000008'::bytea || int8send(OLD.rows_updated))
        || ('\x00000008'::bytea || int8send(OLD.rows_unchanged))
        || ('\x00000008'::bytea || int8send(OLD.rows_quarantined))
        || ('\x00000008'::bytea || timestamptz_send(OLD.archived_at))
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.loaded_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.run_id)) || convert_to(OLD.run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.source_format)) || convert_to(OLD.source_format, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(OLD.left_out))) || jsonb_send(OLD.left_out), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(OLD.snapshot))) || jsonb_send(OLD.snapshot), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || int8send(OLD.rows_deleted))
        || ('\x00000001'::bytea || boolsend(OLD.confirms_only))
        || coalesce(int4send(octet_length(jsonb_send(OLD.removals))) || jsonb_send(OLD.removals), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(OLD.rows_by_week))) || jsonb_send(OLD.rows_by_week), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.archive_sha256)) || convert_to(OLD.archive_sha256, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || int8send(OLD.rows_erased))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_ingested_files() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'ingested_files', 'delete', piece.rows, 28, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x001c'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.table_name)) || convert_to(r.table_name, 'UTF8'))
        || ('\x00000004'::bytea || date_send(r.delivered_on))
        || (int4send(octet_length(r.file_name)) || convert_to(r.file_name, 'UTF8'))
        || (int4send(octet_length(r.sha256)) || convert_to(r.sha256, 'UTF8'))
        || ('\x00000008'::bytea || int8send(r.size_bytes))
        || (int4send(octet_length(r.status)) || convert_to(r.status, 'UTF8'))
        || coalesce(int4send(octet_length(r.reason)) || convert_to(r.reason, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.detail)) || convert_to(r.detail, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.unknown_columns))) || jsonb_send(r.unknown_columns), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || int8send(r.rows_read))
        || ('\x00000008'::bytea || int8send(r.rows_inserted))
        || ('\x00000008'::bytea || int8send(r.rows_updated))
        || ('\x00000008'::bytea || int8send(r.rows_unchanged))
        || ('\x00000008'::bytea || int8send(r.rows_quarantined))
        || ('\x00000008'::bytea || timestamptz_send(r.archived_at))
        || coalesce('\x00000008'::bytea || timestamptz_send(r.loaded_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.run_id)) || convert_to(r.run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.source_format)) || convert_to(r.source_format, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.left_out))) || jsonb_send(r.left_out), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.snapshot))) || jsonb_send(r.snapshot), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || int8send(r.rows_deleted))
        || ('\x00000001'::bytea || boolsend(r.confirms_only))
        || coalesce(int4send(octet_length(jsonb_send(r.removals))) || jsonb_send(r.removals), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(jsonb_send(r.rows_by_week))) || jsonb_send(r.rows_by_week), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.archive_sha256)) || convert_to(r.archive_sha256, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || int8send(r.rows_erased)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'ingested_files', lower(TG_OP), piece.rows, 28, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_accepted_removals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'accepted_removals', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.delivered_on AS text), NULL, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'delivered_on', OLD.delivered_on, 'accepted_by', OLD.accepted_by, 'accepted_at', OLD.accepted_at, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0004'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000004'::bytea || date_send(OLD.delivered_on))
        || coalesce(int4send(octet_length(OLD.accepted_by)) || convert_to(OLD.accepted_by, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(OLD.accepted_at))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_accepted_removals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'accepted_removals', 'delete', piece.rows, 4, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0004'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000004'::bytea || date_send(r.delivered_on))
        || coalesce(int4send(octet_length(r.accepted_by)) || convert_to(r.accepted_by, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(r.accepted_at)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'accepted_removals', lower(TG_OP), piece.rows, 4, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_quarantined_records() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'quarantined_records', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'table_name', OLD.table_name, 'file_hash', OLD.file_hash, 'file_name', OLD.file_name, 'delivered_on', OLD.delivered_on, 'line_number', OLD.line_number, 'raw', CAST(OLD.raw AS text), 'reasons', OLD.reasons, 'quarantined_at', OLD.quarantined_at, 'run_id', OLD.run_id, 'replayed_at', OLD.replayed_at, 'superseded_at', OLD.superseded_at, 'corrected', CAST(OLD.corrected AS text), 'corrected_at', OLD.corrected_at, 'replay_run_id', OLD.replay_run_id, 'accepted_at', OLD.accepted_at, 'accepted_by', OLD.accepted_by, 'accepted_reason', OLD.accepted_reason, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0013'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.table_name)) || convert_to(OLD.table_name, 'UTF8'))
        || (int4send(octet_length(OLD.file_hash)) || convert_to(OLD.file_hash, 'UTF8'))
        || (int4send(octet_length(OLD.file_name)) || convert_to(OLD.file_name, 'UTF8'))
        || ('\x00000004'::bytea || date_send(OLD.delivered_on))
        || ('\x00000008'::bytea || int8send(OLD.line_number))
        || (int4send(octet_length(json_send(OLD.raw))) || json_send(OLD.raw))
        || (int4send(octet_length(jsonb_send(OLD.reasons))) || jsonb_send(OLD.reasons))
        || ('\x00000008'::bytea || timestamptz_send(OLD.quarantined_at))
        || coalesce(int4send(octet_length(OLD.run_id)) || convert_to(OLD.run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.replayed_at), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.superseded_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(json_send(OLD.corrected))) || json_send(OLD.corrected), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.corrected_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.replay_run_id)) || convert_to(OLD.replay_run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.accepted_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.accepted_by)) || convert_to(OLD.accepted_by, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(OLD.accepted_reason)) || convert_to(OLD.accepted_reason, 'UTF8'), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_quarantined_records() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'quarantined_records', 'delete', piece.rows, 19, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0013'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.table_name)) || convert_to(r.table_name, 'UTF8'))
        || (int4send(octet_length(r.file_hash)) || convert_to(r.file_hash, 'UTF8'))
        || (int4send(octet_length(r.file_name)) || convert_to(r.file_name, 'UTF8'))
        || ('\x00000004'::bytea || date_send(r.delivered_on))
        || ('\x00000008'::bytea || int8send(r.line_number))
        || (int4send(octet_length(json_send(r.raw))) || json_send(r.raw))
        || (int4send(octet_length(jsonb_send(r.reasons))) || jsonb_send(r.reasons))
        || ('\x00000008'::bytea || timestamptz_send(r.quarantined_at))
        || coalesce(int4send(octet_length(r.run_id)) || convert_to(r.run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(r.replayed_at), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(r.superseded_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(json_send(r.corrected))) || json_send(r.corrected), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(r.corrected_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.replay_run_id)) || convert_to(r.replay_run_id, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(r.accepted_at), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.accepted_by)) || convert_to(r.accepted_by, 'UTF8'), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.accepted_reason)) || convert_to(r.accepted_reason, 'UTF8'), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'quarantined_records', lower(TG_OP), piece.rows, 19, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_disputed_numbers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'disputed_numbers', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.district_id AS text) || '|' || CAST(OLD.since AS text), NULL, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'since', OLD.since, 'until', OLD.until, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0004'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.district_id)) || convert_to(OLD.district_id, 'UTF8'))
        || ('\x00000004'::bytea || date_send(OLD.since))
        || coalesce('\x00000004'::bytea || date_send(OLD.until), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_disputed_numbers() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'disputed_numbers', 'delete', piece.rows, 4, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0004'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.district_id)) || convert_to(r.district_id, 'UTF8'))
        || ('\x00000004'::bytea || date_send(r.since))
        || coalesce('\x00000004'::bytea || date_send(r.until), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'disputed_numbers', lower(TG_OP), piece.rows, 4, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_student_merges() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'student_merges', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'old_number', OLD.old_number, 'new_number', OLD.new_number, 'reason', OLD.reason, 'merged_by', OLD.merged_by, 'merged_at', OLD.merged_at, 'undone_by', OLD.undone_by, 'undone_at', OLD.undone_at, 'in_force', OLD.in_force, 'moved', OLD.moved, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000b'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.old_number)) || convert_to(OLD.old_number, 'UTF8'))
        || (int4send(octet_length(OLD.new_number)) || convert_to(OLD.new_number, 'UTF8'))
        || (int4send(octet_length(OLD.reason)) || convert_to(OLD.reason, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.merged_by)) || convert_to(OLD.merged_by, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(OLD.merged_at))
        || coalesce(int4send(octet_length(OLD.undone_by)) || convert_to(OLD.undone_by, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.undone_at), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(OLD.in_force))
        || coalesce(int4send(octet_length(jsonb_send(OLD.moved))) || jsonb_send(OLD.moved), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_student_merges() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'student_merges', 'delete', piece.rows, 11, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000b'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.old_number)) || convert_to(r.old_number, 'UTF8'))
        || (int4send(octet_length(r.new_number)) || convert_to(r.new_number, 'UTF8'))
        || (int4send(octet_length(r.reason)) || convert_to(r.reason, 'UTF8'))
        || coalesce(int4send(octet_length(r.merged_by)) || convert_to(r.merged_by, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(r.merged_at))
        || coalesce(int4send(octet_length(r.undone_by)) || convert_to(r.undone_by, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(r.undone_at), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(r.in_force))
        || coalesce(int4send(octet_length(jsonb_send(r.moved))) || jsonb_send(r.moved), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'student_merges', lower(TG_OP), piece.rows, 11, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_instructional_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'instructional_days', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.date AS text), NULL, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'date', OLD.date, 'delivered_on', OLD.delivered_on, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0002'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000004'::bytea || date_send(OLD.date))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_instructional_days() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'instructional_days', 'delete', piece.rows, 2, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0002'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000004'::bytea || date_send(r.date)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'instructional_days', lower(TG_OP), piece.rows, 2, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_weekly_activity() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_weekly_activity() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN
            SELECT tenant_id, CAST(sum(rows) AS bigint) AS rows, jsonb_object_agg(change_id, rows) AS gone
            FROM (SELECT tenant_id, change_id, count(*) AS rows FROM removed GROUP BY 1, 2) counted GROUP BY 1
        LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'weekly_activity', 'delete', piece.rows, NULL, NULL, NULL, piece.gone
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0014'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || ('\x00000004'::bytea || date_send(r.week_start))
        || ('\x00000004'::bytea || int4send(r.sessions_present))
        || ('\x00000004'::bytea || int4send(r.sessions_absent))
        || ('\x00000004'::bytea || int4send(r.sessions_tardy))
        || ('\x00000004'::bytea || int4send(r.sessions_excused))
        || ('\x00000004'::bytea || int4send(r.unexcused_absences))
        || ('\x00000004'::bytea || int4send(r.grade_count))
        || coalesce('\x00000008'::bytea || float8send(r.grade_mean), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(r.grade_lowest), '\xffffffff'::bytea)
        || ('\x00000004'::bytea || int4send(r.incident_count))
        || coalesce('\x00000004'::bytea || int4send(r.severity_highest), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.sessions_basis)) || convert_to(r.sessions_basis, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.days_enrolled), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.days_present), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.days_absent), '\xffffffff'::bytea)
        || coalesce('\x00000004'::bytea || int4send(r.days_excused), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || float8send(r.days_missed), '\xffffffff'::bytea)
        || coalesce(int4send(octet_length(r.days_basis)) || convert_to(r.days_basis, 'UTF8'), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        IF TG_OP = 'UPDATE' THEN
            SELECT jsonb_object_agg(change_id, rows) INTO gone FROM (
                SELECT r.change_id, count(*) AS rows FROM removed r JOIN added a ON a.student_id = r.student_id AND a.week_start = r.week_start
                WHERE a.change_id = number AND a.tenant_id = piece.tenant_id GROUP BY 1
            ) counted;
        END IF;
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'weekly_activity', lower(TG_OP), piece.rows, 20, piece.content,
            NULL, gone
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_weekly_course_grades() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_weekly_course_grades() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN
            SELECT tenant_id, CAST(sum(rows) AS bigint) AS rows, jsonb_object_agg(change_id, rows) AS gone
            FROM (SELECT tenant_id, change_id, count(*) AS rows FROM removed GROUP BY 1, 2) counted GROUP BY 1
        LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'weekly_course_grades', 'delete', piece.rows, NULL, NULL, NULL, piece.gone
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0007'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || ('\x00000004'::bytea || date_send(r.week_start))
        || (int4send(octet_length(r.course_id)) || convert_to(r.course_id, 'UTF8'))
        || ('\x00000004'::bytea || int4send(r.grade_count))
        || ('\x00000008'::bytea || float8send(r.grade_mean))
        || ('\x00000008'::bytea || float8send(r.grade_lowest)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        IF TG_OP = 'UPDATE' THEN
            SELECT jsonb_object_agg(change_id, rows) INTO gone FROM (
                SELECT r.change_id, count(*) AS rows FROM removed r JOIN added a ON a.student_id = r.student_id AND a.week_start = r.week_start AND a.course_id = r.course_id
                WHERE a.change_id = number AND a.tenant_id = piece.tenant_id GROUP BY 1
            ) counted;
        END IF;
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'weekly_course_grades', lower(TG_OP), piece.rows, 7, piece.content,
            NULL, gone
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_step_accounts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'step_accounts', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.run_id AS text) || '|' || CAST(OLD.step AS text) || '|' || CAST(OLD.part AS text), NULL, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'run_id', OLD.run_id, 'step', OLD.step, 'part', OLD.part, 'account', OLD.account, 'created_at', OLD.created_at, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0005'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.run_id)) || convert_to(OLD.run_id, 'UTF8'))
        || (int4send(octet_length(OLD.step)) || convert_to(OLD.step, 'UTF8'))
        || (int4send(octet_length(OLD.part)) || convert_to(OLD.part, 'UTF8'))
        || (int4send(octet_length(jsonb_send(OLD.account))) || jsonb_send(OLD.account))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_step_accounts() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'step_accounts', 'delete', piece.rows, 5, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0005'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.run_id)) || convert_to(r.run_id, 'UTF8'))
        || (int4send(octet_length(r.step)) || convert_to(r.step, 'UTF8'))
        || (int4send(octet_length(r.part)) || convert_to(r.part, 'UTF8'))
        || (int4send(octet_length(jsonb_send(r.account))) || jsonb_send(r.account)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'step_accounts', lower(TG_OP), piece.rows, 5, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_disclosures() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'disclosures', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'kind', OLD.kind, 'subject_hash', OLD.subject_hash, 'disclosed_at', OLD.disclosed_at, 'disclosed_by', OLD.disclosed_by, 'recipient', OLD.recipient, 'purpose', OLD.purpose, 'legal_basis', OLD.legal_basis, 'files', OLD.files, 'counts', OLD.counts, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x000b'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.kind)) || convert_to(OLD.kind, 'UTF8'))
        || coalesce(int4send(octet_length(OLD.subject_hash)) || convert_to(OLD.subject_hash, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(OLD.disclosed_at))
        || (int4send(octet_length(OLD.disclosed_by)) || convert_to(OLD.disclosed_by, 'UTF8'))
        || (int4send(octet_length(OLD.recipient)) || convert_to(OLD.recipient, 'UTF8'))
        || (int4send(octet_length(OLD.purpose)) || convert_to(OLD.purpose, 'UTF8'))
        || (int4send(octet_length(OLD.legal_basis)) || convert_to(OLD.legal_basis, 'UTF8'))
        || (int4send(octet_length(jsonb_send(OLD.files))) || jsonb_send(OLD.files))
        || (int4send(octet_length(jsonb_send(OLD.counts))) || jsonb_send(OLD.counts))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_disclosures() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'disclosures', 'delete', piece.rows, 11, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x000b'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.kind)) || convert_to(r.kind, 'UTF8'))
        || coalesce(int4send(octet_length(r.subject_hash)) || convert_to(r.subject_hash, 'UTF8'), '\xffffffff'::bytea)
        || ('\x00000008'::bytea || timestamptz_send(r.disclosed_at))
        || (int4send(octet_length(r.disclosed_by)) || convert_to(r.disclosed_by, 'UTF8'))
        || (int4send(octet_length(r.recipient)) || convert_to(r.recipient, 'UTF8'))
        || (int4send(octet_length(r.purpose)) || convert_to(r.purpose, 'UTF8'))
        || (int4send(octet_length(r.legal_basis)) || convert_to(r.legal_basis, 'UTF8'))
        || (int4send(octet_length(jsonb_send(r.files))) || jsonb_send(r.files))
        || (int4send(octet_length(jsonb_send(r.counts))) || jsonb_send(r.counts)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'disclosures', lower(TG_OP), piece.rows, 11, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_erasures() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'erasures', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'number_hash', OLD.number_hash, 'reason', OLD.reason, 'erased_by', OLD.erased_by, 'approved_by', OLD.approved_by, 'begun_at', OLD.begun_at, 'done_at', OLD.done_at, 'counts', OLD.counts, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0009'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.number_hash)) || convert_to(OLD.number_hash, 'UTF8'))
        || (int4send(octet_length(OLD.reason)) || convert_to(OLD.reason, 'UTF8'))
        || (int4send(octet_length(OLD.erased_by)) || convert_to(OLD.erased_by, 'UTF8'))
        || (int4send(octet_length(OLD.approved_by)) || convert_to(OLD.approved_by, 'UTF8'))
        || ('\x00000008'::bytea || timestamptz_send(OLD.begun_at))
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.done_at), '\xffffffff'::bytea)
        || (int4send(octet_length(jsonb_send(OLD.counts))) || jsonb_send(OLD.counts))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_erasures() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'erasures', 'delete', piece.rows, 9, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0009'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.number_hash)) || convert_to(r.number_hash, 'UTF8'))
        || (int4send(octet_length(r.reason)) || convert_to(r.reason, 'UTF8'))
        || (int4send(octet_length(r.erased_by)) || convert_to(r.erased_by, 'UTF8'))
        || (int4send(octet_length(r.approved_by)) || convert_to(r.approved_by, 'UTF8'))
        || ('\x00000008'::bytea || timestamptz_send(r.begun_at))
        || coalesce('\x00000008'::bytea || timestamptz_send(r.done_at), '\xffffffff'::bytea)
        || (int4send(octet_length(jsonb_send(r.counts))) || jsonb_send(r.counts)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'erasures', lower(TG_OP), piece.rows, 9, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_erased_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'erased_keys', CAST(OLD.tenant_id AS text) || '|' || CAST(OLD.key_hash AS text), NULL, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'key_hash', OLD.key_hash, 'erasure_id', OLD.erasure_id, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0003'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.key_hash)) || convert_to(OLD.key_hash, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.erasure_id))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_erased_keys() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'erased_keys', 'delete', piece.rows, 3, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0003'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.key_hash)) || convert_to(r.key_hash, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.erasure_id)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'erased_keys', lower(TG_OP), piece.rows, 3, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_legal_holds() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'legal_holds', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'district_id', OLD.district_id, 'reason', OLD.reason, 'placed_by', OLD.placed_by, 'placed_at', OLD.placed_at, 'released_by', OLD.released_by, 'released_at', OLD.released_at, 'in_force', OLD.in_force, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0009'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || (int4send(octet_length(OLD.district_id)) || convert_to(OLD.district_id, 'UTF8'))
        || (int4send(octet_length(OLD.reason)) || convert_to(OLD.reason, 'UTF8'))
        || (int4send(octet_length(OLD.placed_by)) || convert_to(OLD.placed_by, 'UTF8'))
        || ('\x00000008'::bytea || timestamptz_send(OLD.placed_at))
        || coalesce(int4send(octet_length(OLD.released_by)) || convert_to(OLD.released_by, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.released_at), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(OLD.in_force))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_legal_holds() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'legal_holds', 'delete', piece.rows, 9, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0009'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || (int4send(octet_length(r.district_id)) || convert_to(r.district_id, 'UTF8'))
        || (int4send(octet_length(r.reason)) || convert_to(r.reason, 'UTF8'))
        || (int4send(octet_length(r.placed_by)) || convert_to(r.placed_by, 'UTF8'))
        || ('\x00000008'::bytea || timestamptz_send(r.placed_at))
        || coalesce(int4send(octet_length(r.released_by)) || convert_to(r.released_by, 'UTF8'), '\xffffffff'::bytea)
        || coalesce('\x00000008'::bytea || timestamptz_send(r.released_at), '\xffffffff'::bytea)
        || ('\x00000001'::bytea || boolsend(r.in_force)) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'legal_holds', lower(TG_OP), piece.rows, 9, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_retention_removals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'retention_removals', CAST(OLD.student_id AS text) || '|' || CAST(OLD.table_name AS text), OLD.student_id, OLD.change_id, number,
        jsonb_build_object('tenant_id', OLD.tenant_id, 'student_id', OLD.student_id, 'table_name', OLD.table_name, 'through', OLD.through, 'removed_at', OLD.removed_at, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0005'::bytea
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(OLD.student_id))
        || (int4send(octet_length(OLD.table_name)) || convert_to(OLD.table_name, 'UTF8'))
        || ('\x00000004'::bytea || date_send(OLD.through))
        || coalesce('\x00000008'::bytea || timestamptz_send(OLD.removed_at), '\xffffffff'::bytea)), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_retention_removals() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'retention_removals', 'delete', piece.rows, 5, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0005'::bytea
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000010'::bytea || uuid_send(r.student_id))
        || (int4send(octet_length(r.table_name)) || convert_to(r.table_name, 'UTF8'))
        || ('\x00000004'::bytea || date_send(r.through))
        || coalesce('\x00000008'::bytea || timestamptz_send(r.removed_at), '\xffffffff'::bytea) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'retention_removals', lower(TG_OP), piece.rows, 5, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_row_retention_certificates() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    salt constant bytea := uuid_send(gen_random_uuid());
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.tenant_id IS DISTINCT FROM NEW.tenant_id THEN
        RAISE insufficient_privilege
            USING MESSAGE = 'a row does not go from one district to another: delete it and insert another';
    END IF;
    INSERT INTO audit_images (tenant_id, table_name, row_key, student_id, written_by, replaced_by, image, salt, hash)
    VALUES (OLD.tenant_id, 'retention_certificates', CAST(OLD.id AS text), NULL, OLD.change_id, number,
        jsonb_build_object('id', OLD.id, 'tenant_id', OLD.tenant_id, 'signed_at', OLD.signed_at, 'executed_by', OLD.executed_by, 'approved_by', OLD.approved_by, 'reason', OLD.reason, 'document', CAST(OLD.document AS text), 'sha256', OLD.sha256, 'change_id', OLD.change_id),
        encode(salt, 'hex'), encode(sha256(salt
        || '\x0008'::bytea
        || ('\x00000010'::bytea || uuid_send(OLD.id))
        || (int4send(octet_length(OLD.tenant_id)) || convert_to(OLD.tenant_id, 'UTF8'))
        || ('\x00000008'::bytea || timestamptz_send(OLD.signed_at))
        || (int4send(octet_length(OLD.executed_by)) || convert_to(OLD.executed_by, 'UTF8'))
        || (int4send(octet_length(OLD.approved_by)) || convert_to(OLD.approved_by, 'UTF8'))
        || (int4send(octet_length(OLD.reason)) || convert_to(OLD.reason, 'UTF8'))
        || (int4send(octet_length(json_send(OLD.document))) || json_send(OLD.document))
        || (int4send(octet_length(OLD.sha256)) || convert_to(OLD.sha256, 'UTF8'))), 'hex'));
    IF TG_OP = 'UPDATE' THEN
        NEW.change_id := number;
        RETURN NEW;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE FUNCTION edupulse_audit_statement_retention_certificates() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_number(TG_OP);
    piece record;
    gone jsonb;
BEGIN
    IF TG_TABLE_SCHEMA <> current_schema() THEN
        RAISE insufficient_privilege USING MESSAGE = 'no table of ours';
    END IF;
    IF TG_OP = 'DELETE' THEN
        FOR piece IN SELECT tenant_id, count(*) AS rows FROM audit_images WHERE replaced_by = number GROUP BY 1 LOOP
            PERFORM edupulse_audit_record(
                number, piece.tenant_id, 'retention_certificates', 'delete', piece.rows, 8, NULL, edupulse_audit_images(number, piece.tenant_id), NULL
            );
        END LOOP;
        RETURN NULL;
    END IF;
    FOR piece IN
        SELECT tenant_id, change_id, count(*) AS rows, encode(sha256(string_agg(sent, ''::bytea ORDER BY sent)), 'hex') AS content
        FROM (
            SELECT r.tenant_id, r.change_id,
        '\x0008'::bytea
        || ('\x00000010'::bytea || uuid_send(r.id))
        || (int4send(octet_length(r.tenant_id)) || convert_to(r.tenant_id, 'UTF8'))
        || ('\x00000008'::bytea || timestamptz_send(r.signed_at))
        || (int4send(octet_length(r.executed_by)) || convert_to(r.executed_by, 'UTF8'))
        || (int4send(octet_length(r.approved_by)) || convert_to(r.approved_by, 'UTF8'))
        || (int4send(octet_length(r.reason)) || convert_to(r.reason, 'UTF8'))
        || (int4send(octet_length(json_send(r.document))) || json_send(r.document))
        || (int4send(octet_length(r.sha256)) || convert_to(r.sha256, 'UTF8')) AS sent
            FROM added r WHERE TG_OP = 'INSERT' OR r.change_id = number
            OFFSET 0 -- so that the bytes are made once, and not again for the hash
        ) written
        GROUP BY 1, 2
    LOOP
        PERFORM edupulse_audit_record(
            piece.change_id, piece.tenant_id, 'retention_certificates', lower(TG_OP), piece.rows, 8, piece.content,
            CASE TG_OP WHEN 'UPDATE' THEN edupulse_audit_images(number, piece.tenant_id) END, NULL
        );
    END LOOP;
    RETURN NULL;
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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN students.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_students_updated_at BEFORE UPDATE OF district_id, first_name, last_name, grade_level, date_of_birth, gender, ethnicity, socioeconomic_status, gpa, attendance_rate, parent_contact, enrollment_date, exit_date, exit_type, student_metadata, deleted_on
ON students FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_students_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON students FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_students_audit_inserted AFTER INSERT
ON students REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_students();

CREATE OR REPLACE TRIGGER tr_students_audit_updated AFTER UPDATE
ON students REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_students();

CREATE OR REPLACE TRIGGER tr_students_audit_deleted AFTER DELETE
ON students FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_students();

CREATE OR REPLACE TRIGGER tr_students_audit_truncate BEFORE TRUNCATE
ON students FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_students_audit_row BEFORE UPDATE
ON students FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.district_id IS DISTINCT FROM NEW.district_id OR OLD.first_name IS DISTINCT FROM NEW.first_name OR OLD.last_name IS DISTINCT FROM NEW.last_name OR OLD.grade_level IS DISTINCT FROM NEW.grade_level OR OLD.date_of_birth IS DISTINCT FROM NEW.date_of_birth OR OLD.gender IS DISTINCT FROM NEW.gender OR OLD.ethnicity IS DISTINCT FROM NEW.ethnicity OR OLD.socioeconomic_status IS DISTINCT FROM NEW.socioeconomic_status OR OLD.gpa IS DISTINCT FROM NEW.gpa OR OLD.attendance_rate IS DISTINCT FROM NEW.attendance_rate OR OLD.parent_contact IS DISTINCT FROM NEW.parent_contact OR OLD.enrollment_date IS DISTINCT FROM NEW.enrollment_date OR OLD.exit_date IS DISTINCT FROM NEW.exit_date OR OLD.exit_type IS DISTINCT FROM NEW.exit_type OR OLD.student_metadata IS DISTINCT FROM NEW.student_metadata OR OLD.deleted_on IS DISTINCT FROM NEW.deleted_on OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_students();

CREATE OR REPLACE TRIGGER tr_students_audit_removed BEFORE DELETE
ON students FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_students();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN schools.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_schools_updated_at BEFORE UPDATE OF school_id, name, level, lowest_grade, highest_grade, deleted_on
ON schools FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_schools_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON schools FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_schools_audit_inserted AFTER INSERT
ON schools REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_schools();

CREATE OR REPLACE TRIGGER tr_schools_audit_updated AFTER UPDATE
ON schools REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_schools();

CREATE OR REPLACE TRIGGER tr_schools_audit_deleted AFTER DELETE
ON schools FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_schools();

CREATE OR REPLACE TRIGGER tr_schools_audit_truncate BEFORE TRUNCATE
ON schools FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_schools_audit_row BEFORE UPDATE
ON schools FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.school_id IS DISTINCT FROM NEW.school_id OR OLD.name IS DISTINCT FROM NEW.name OR OLD.level IS DISTINCT FROM NEW.level OR OLD.lowest_grade IS DISTINCT FROM NEW.lowest_grade OR OLD.highest_grade IS DISTINCT FROM NEW.highest_grade OR OLD.deleted_on IS DISTINCT FROM NEW.deleted_on OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_schools();

CREATE OR REPLACE TRIGGER tr_schools_audit_removed BEFORE DELETE
ON schools FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_schools();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN enrollments.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_enrollments_updated_at BEFORE UPDATE OF student_id, school_id, entry_date, exit_date, exit_type, grade_level, is_primary, source_record_id, origin, deleted_on, taken_back_for
ON enrollments FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_enrollments_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON enrollments FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_enrollments_audit_inserted AFTER INSERT
ON enrollments REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_enrollments();

CREATE OR REPLACE TRIGGER tr_enrollments_audit_updated AFTER UPDATE
ON enrollments REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_enrollments();

CREATE OR REPLACE TRIGGER tr_enrollments_audit_deleted AFTER DELETE
ON enrollments FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_enrollments();

CREATE OR REPLACE TRIGGER tr_enrollments_audit_truncate BEFORE TRUNCATE
ON enrollments FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_enrollments_audit_row BEFORE UPDATE
ON enrollments FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.school_id IS DISTINCT FROM NEW.school_id OR OLD.entry_date IS DISTINCT FROM NEW.entry_date OR OLD.exit_date IS DISTINCT FROM NEW.exit_date OR OLD.exit_type IS DISTINCT FROM NEW.exit_type OR OLD.grade_level IS DISTINCT FROM NEW.grade_level OR OLD.is_primary IS DISTINCT FROM NEW.is_primary OR OLD.source_record_id IS DISTINCT FROM NEW.source_record_id OR OLD.origin IS DISTINCT FROM NEW.origin OR OLD.deleted_on IS DISTINCT FROM NEW.deleted_on OR OLD.taken_back_for IS DISTINCT FROM NEW.taken_back_for OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_enrollments();

CREATE OR REPLACE TRIGGER tr_enrollments_audit_removed BEFORE DELETE
ON enrollments FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_enrollments();

SELECT edupulse_guard('enrollments');

CREATE TABLE enrollment_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    said VARCHAR(50) NOT NULL,
    first_delivered_on DATE NOT NULL,
    delivered_on DATE NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN enrollment_statements.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_enrollment_statements_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON enrollment_statements FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_enrollment_statements_audit_inserted AFTER INSERT
ON enrollment_statements REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_enrollment_statements();

CREATE OR REPLACE TRIGGER tr_enrollment_statements_audit_updated AFTER UPDATE
ON enrollment_statements REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_enrollment_statements();

CREATE OR REPLACE TRIGGER tr_enrollment_statements_audit_deleted AFTER DELETE
ON enrollment_statements FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_enrollment_statements();

CREATE OR REPLACE TRIGGER tr_enrollment_statements_audit_truncate BEFORE TRUNCATE
ON enrollment_statements FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_enrollment_statements_audit_row BEFORE UPDATE
ON enrollment_statements FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.said IS DISTINCT FROM NEW.said OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_enrollment_statements();

CREATE OR REPLACE TRIGGER tr_enrollment_statements_audit_removed BEFORE DELETE
ON enrollment_statements FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_enrollment_statements();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN attendance_records.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_attendance_records_updated_at BEFORE UPDATE OF student_id, date, status, period, deleted_on, minutes_absent, minutes_possible, school_id
ON attendance_records FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_attendance_records_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON attendance_records FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_attendance_records_audit_inserted AFTER INSERT
ON attendance_records REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_records();

CREATE OR REPLACE TRIGGER tr_attendance_records_audit_updated AFTER UPDATE
ON attendance_records REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_records();

CREATE OR REPLACE TRIGGER tr_attendance_records_audit_deleted AFTER DELETE
ON attendance_records FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_records();

CREATE OR REPLACE TRIGGER tr_attendance_records_audit_truncate BEFORE TRUNCATE
ON attendance_records FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_attendance_records_audit_row BEFORE UPDATE
ON attendance_records FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.date IS DISTINCT FROM NEW.date OR OLD.status IS DISTINCT FROM NEW.status OR OLD.period IS DISTINCT FROM NEW.period OR OLD.deleted_on IS DISTINCT FROM NEW.deleted_on OR OLD.minutes_absent IS DISTINCT FROM NEW.minutes_absent OR OLD.minutes_possible IS DISTINCT FROM NEW.minutes_possible OR OLD.school_id IS DISTINCT FROM NEW.school_id OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_attendance_records();

CREATE OR REPLACE TRIGGER tr_attendance_records_audit_removed BEFORE DELETE
ON attendance_records FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_attendance_records();

SELECT edupulse_guard('attendance_records');

CREATE TABLE attendance_statements (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    date DATE NOT NULL,
    period INTEGER NOT NULL,
    said JSONB NOT NULL,
    at_several BOOLEAN NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN attendance_statements.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_attendance_statements_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON attendance_statements FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_attendance_statements_audit_inserted AFTER INSERT
ON attendance_statements REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_statements();

CREATE OR REPLACE TRIGGER tr_attendance_statements_audit_updated AFTER UPDATE
ON attendance_statements REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_statements();

CREATE OR REPLACE TRIGGER tr_attendance_statements_audit_deleted AFTER DELETE
ON attendance_statements FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_attendance_statements();

CREATE OR REPLACE TRIGGER tr_attendance_statements_audit_truncate BEFORE TRUNCATE
ON attendance_statements FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_attendance_statements_audit_row BEFORE UPDATE
ON attendance_statements FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.date IS DISTINCT FROM NEW.date OR OLD.period IS DISTINCT FROM NEW.period OR OLD.said IS DISTINCT FROM NEW.said OR OLD.at_several IS DISTINCT FROM NEW.at_several OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_attendance_statements();

CREATE OR REPLACE TRIGGER tr_attendance_statements_audit_removed BEFORE DELETE
ON attendance_statements FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_attendance_statements();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    assignment_id VARCHAR(100),
    due_date DATE,
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

COMMENT ON COLUMN grades.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

COMMENT ON COLUMN grades.assignment_id IS 'The piece of work: classmates who had the same one have the same value. Optional.';

COMMENT ON COLUMN grades.due_date IS 'The day by which the work had to be handed in; may lie ahead. Optional.';

CREATE OR REPLACE TRIGGER tr_grades_updated_at BEFORE UPDATE OF student_id, record_key, source_record_id, course_id, course_name, grade_value, grade_letter, submission_date, assignment_type, deleted_on, assignment_id, due_date
ON grades FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_grades_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON grades FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_grades_audit_inserted AFTER INSERT
ON grades REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_grades();

CREATE OR REPLACE TRIGGER tr_grades_audit_updated AFTER UPDATE
ON grades REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_grades();

CREATE OR REPLACE TRIGGER tr_grades_audit_deleted AFTER DELETE
ON grades FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_grades();

CREATE OR REPLACE TRIGGER tr_grades_audit_truncate BEFORE TRUNCATE
ON grades FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_grades_audit_row BEFORE UPDATE
ON grades FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.record_key IS DISTINCT FROM NEW.record_key OR OLD.source_record_id IS DISTINCT FROM NEW.source_record_id OR OLD.course_id IS DISTINCT FROM NEW.course_id OR OLD.course_name IS DISTINCT FROM NEW.course_name OR OLD.grade_value IS DISTINCT FROM NEW.grade_value OR OLD.grade_letter IS DISTINCT FROM NEW.grade_letter OR OLD.submission_date IS DISTINCT FROM NEW.submission_date OR OLD.assignment_type IS DISTINCT FROM NEW.assignment_type OR OLD.deleted_on IS DISTINCT FROM NEW.deleted_on OR OLD.assignment_id IS DISTINCT FROM NEW.assignment_id OR OLD.due_date IS DISTINCT FROM NEW.due_date OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_grades();

CREATE OR REPLACE TRIGGER tr_grades_audit_removed BEFORE DELETE
ON grades FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_grades();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN discipline_incidents.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_discipline_incidents_updated_at BEFORE UPDATE OF student_id, record_key, source_record_id, incident_date, severity_level, incident_type, description, resolution, deleted_on
ON discipline_incidents FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_discipline_incidents_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON discipline_incidents FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_discipline_incidents_audit_inserted AFTER INSERT
ON discipline_incidents REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_discipline_incidents();

CREATE OR REPLACE TRIGGER tr_discipline_incidents_audit_updated AFTER UPDATE
ON discipline_incidents REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_discipline_incidents();

CREATE OR REPLACE TRIGGER tr_discipline_incidents_audit_deleted AFTER DELETE
ON discipline_incidents FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_discipline_incidents();

CREATE OR REPLACE TRIGGER tr_discipline_incidents_audit_truncate BEFORE TRUNCATE
ON discipline_incidents FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_discipline_incidents_audit_row BEFORE UPDATE
ON discipline_incidents FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.record_key IS DISTINCT FROM NEW.record_key OR OLD.source_record_id IS DISTINCT FROM NEW.source_record_id OR OLD.incident_date IS DISTINCT FROM NEW.incident_date OR OLD.severity_level IS DISTINCT FROM NEW.severity_level OR OLD.incident_type IS DISTINCT FROM NEW.incident_type OR OLD.description IS DISTINCT FROM NEW.description OR OLD.resolution IS DISTINCT FROM NEW.resolution OR OLD.deleted_on IS DISTINCT FROM NEW.deleted_on OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_discipline_incidents();

CREATE OR REPLACE TRIGGER tr_discipline_incidents_audit_removed BEFORE DELETE
ON discipline_incidents FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_discipline_incidents();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN student_features.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_student_features_updated_at BEFORE UPDATE OF student_id, feature_date, attendance_rate, gpa_current, discipline_incidents, feature_vector
ON student_features FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_student_features_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON student_features FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_student_features_audit_inserted AFTER INSERT
ON student_features REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_student_features();

CREATE OR REPLACE TRIGGER tr_student_features_audit_updated AFTER UPDATE
ON student_features REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_student_features();

CREATE OR REPLACE TRIGGER tr_student_features_audit_deleted AFTER DELETE
ON student_features REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_student_features();

CREATE OR REPLACE TRIGGER tr_student_features_audit_truncate BEFORE TRUNCATE
ON student_features FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_student_features_audit_row BEFORE UPDATE
ON student_features FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.feature_date IS DISTINCT FROM NEW.feature_date OR OLD.attendance_rate IS DISTINCT FROM NEW.attendance_rate OR OLD.gpa_current IS DISTINCT FROM NEW.gpa_current OR OLD.discipline_incidents IS DISTINCT FROM NEW.discipline_incidents OR OLD.feature_vector IS DISTINCT FROM NEW.feature_vector OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_student_features();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN model_metadata.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_model_metadata_updated_at BEFORE UPDATE OF model_version, model_type, training_date, performance_metrics, hyperparameters, is_active, data_through, data_hash, settings_hash, promoted, set_aside, mlflow_run_id, mlflow_model_id, registered_model, registry_version, artifact_sha256, artifact_uri, label_hash
ON model_metadata FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_model_metadata_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON model_metadata FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_model_metadata_audit_inserted AFTER INSERT
ON model_metadata REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_model_metadata();

CREATE OR REPLACE TRIGGER tr_model_metadata_audit_updated AFTER UPDATE
ON model_metadata REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_model_metadata();

CREATE OR REPLACE TRIGGER tr_model_metadata_audit_deleted AFTER DELETE
ON model_metadata FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_model_metadata();

CREATE OR REPLACE TRIGGER tr_model_metadata_audit_truncate BEFORE TRUNCATE
ON model_metadata FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_model_metadata_audit_row BEFORE UPDATE
ON model_metadata FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.model_version IS DISTINCT FROM NEW.model_version OR OLD.model_type IS DISTINCT FROM NEW.model_type OR OLD.training_date IS DISTINCT FROM NEW.training_date OR OLD.performance_metrics IS DISTINCT FROM NEW.performance_metrics OR OLD.hyperparameters IS DISTINCT FROM NEW.hyperparameters OR OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.data_through IS DISTINCT FROM NEW.data_through OR OLD.data_hash IS DISTINCT FROM NEW.data_hash OR OLD.settings_hash IS DISTINCT FROM NEW.settings_hash OR OLD.promoted IS DISTINCT FROM NEW.promoted OR OLD.set_aside IS DISTINCT FROM NEW.set_aside OR OLD.mlflow_run_id IS DISTINCT FROM NEW.mlflow_run_id OR OLD.mlflow_model_id IS DISTINCT FROM NEW.mlflow_model_id OR OLD.registered_model IS DISTINCT FROM NEW.registered_model OR OLD.registry_version IS DISTINCT FROM NEW.registry_version OR OLD.artifact_sha256 IS DISTINCT FROM NEW.artifact_sha256 OR OLD.artifact_uri IS DISTINCT FROM NEW.artifact_uri OR OLD.label_hash IS DISTINCT FROM NEW.label_hash OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_model_metadata();

CREATE OR REPLACE TRIGGER tr_model_metadata_audit_removed BEFORE DELETE
ON model_metadata FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_model_metadata();

SELECT edupulse_guard('model_metadata');

CREATE TABLE predictions (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    prediction_date TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    risk_score DOUBLE PRECISION,
    risk_category VARCHAR(20) NOT NULL,
    confidence DOUBLE PRECISION,
    risk_factors JSONB DEFAULT '[]',
    model_version VARCHAR(50) NOT NULL,
    rescored BOOLEAN DEFAULT false NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    rule_score DOUBLE PRECISION,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_predictions PRIMARY KEY (id),
    CONSTRAINT ck_predictions_risk_score_range CHECK (risk_score >= 0 AND risk_score <= 1),
    CONSTRAINT ck_predictions_risk_category_values CHECK (risk_category IN ('low', 'medium', 'high', 'critical')),
    CONSTRAINT ck_predictions_confidence_range CHECK (confidence >= 0 AND confidence <= 1),
    CONSTRAINT ck_predictions_rule_score_range CHECK (rule_score >= 0),
    CONSTRAINT ck_predictions_probability CHECK ((risk_score IS NULL) = (confidence IS NULL)),
    CONSTRAINT ck_predictions_order CHECK (risk_score IS NOT NULL OR rule_score IS NOT NULL),
    CONSTRAINT fk_predictions_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT,
    CONSTRAINT fk_predictions_model_metadata FOREIGN KEY(tenant_id, model_version) REFERENCES model_metadata (tenant_id, model_version) ON DELETE RESTRICT,
    CONSTRAINT uq_predictions_student_id_feature_date_model_version UNIQUE (tenant_id, student_id, feature_date, model_version),
    CONSTRAINT uq_predictions_id UNIQUE (tenant_id, id)
);

CREATE INDEX ix_predictions_feature_date_risk_category ON predictions (tenant_id, feature_date, risk_category);

CREATE INDEX ix_predictions_model_version ON predictions (tenant_id, model_version);

COMMENT ON TABLE predictions IS 'What a model, or the rule, says of a student in a school week: category, probability and explanation.';

COMMENT ON COLUMN predictions.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN predictions.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN predictions.student_id IS 'The student the row is about.';

COMMENT ON COLUMN predictions.feature_date IS 'As-of date of the features that were scored.';

COMMENT ON COLUMN predictions.prediction_date IS 'When the student was first scored for the week by this model.';

COMMENT ON COLUMN predictions.risk_score IS 'How likely the event is that the district wants to prevent: 0 (never) to 1 (certain). NULL: the rule scored before anything was known of which probabilities could be learned.';

COMMENT ON COLUMN predictions.risk_category IS 'The score in words, from bounds that the district has set (without a probability from those of the rule''s score); high and critical are flagged.';

COMMENT ON COLUMN predictions.confidence IS 'How sure the model is that flagged, or not flagged, is right: of past predictions with so much, at least this share was. The less is known of the student, the lower. NULL without a probability.';

COMMENT ON COLUMN predictions.risk_factors IS 'What raised or lowered the score, with the largest contribution first.';

COMMENT ON COLUMN predictions.model_version IS 'The model that scored.';

COMMENT ON COLUMN predictions.rescored IS 'Scored on request by a model that may have been trained on this very week.';

COMMENT ON COLUMN predictions.created_at IS 'When the row was first written.';

COMMENT ON COLUMN predictions.updated_at IS 'When the row last changed; kept by the database.';

COMMENT ON COLUMN predictions.rule_score IS 'The graded score of the rule: 0 far from every threshold, 1 as at one of them, more beyond. It makes the order of a list where probabilities are equal or missing. NULL where a model scored.';

COMMENT ON COLUMN predictions.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_predictions_updated_at BEFORE UPDATE OF student_id, feature_date, prediction_date, risk_score, risk_category, confidence, risk_factors, model_version, rescored, rule_score
ON predictions FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_predictions_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON predictions FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_predictions_audit_inserted AFTER INSERT
ON predictions REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_predictions();

CREATE OR REPLACE TRIGGER tr_predictions_audit_updated AFTER UPDATE
ON predictions REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_predictions();

CREATE OR REPLACE TRIGGER tr_predictions_audit_deleted AFTER DELETE
ON predictions FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_predictions();

CREATE OR REPLACE TRIGGER tr_predictions_audit_truncate BEFORE TRUNCATE
ON predictions FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_predictions_audit_row BEFORE UPDATE
ON predictions FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.feature_date IS DISTINCT FROM NEW.feature_date OR OLD.prediction_date IS DISTINCT FROM NEW.prediction_date OR OLD.risk_score IS DISTINCT FROM NEW.risk_score OR OLD.risk_category IS DISTINCT FROM NEW.risk_category OR OLD.confidence IS DISTINCT FROM NEW.confidence OR OLD.risk_factors IS DISTINCT FROM NEW.risk_factors OR OLD.model_version IS DISTINCT FROM NEW.model_version OR OLD.rescored IS DISTINCT FROM NEW.rescored OR OLD.rule_score IS DISTINCT FROM NEW.rule_score OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_predictions();

CREATE OR REPLACE TRIGGER tr_predictions_audit_removed BEFORE DELETE
ON predictions FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_predictions();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN training_feedback.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_training_feedback_updated_at BEFORE UPDATE OF prediction_id, record_key, outcome_date, outcome_type, feedback_type, educator_notes, deleted_on, reviewer
ON training_feedback FOR EACH ROW EXECUTE FUNCTION edupulse_touch_updated_at();

CREATE OR REPLACE TRIGGER tr_training_feedback_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON training_feedback FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_training_feedback_audit_inserted AFTER INSERT
ON training_feedback REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_training_feedback();

CREATE OR REPLACE TRIGGER tr_training_feedback_audit_updated AFTER UPDATE
ON training_feedback REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_training_feedback();

CREATE OR REPLACE TRIGGER tr_training_feedback_audit_deleted AFTER DELETE
ON training_feedback FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_training_feedback();

CREATE OR REPLACE TRIGGER tr_training_feedback_audit_truncate BEFORE TRUNCATE
ON training_feedback FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_training_feedback_audit_row BEFORE UPDATE
ON training_feedback FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.prediction_id IS DISTINCT FROM NEW.prediction_id OR OLD.record_key IS DISTINCT FROM NEW.record_key OR OLD.outcome_date IS DISTINCT FROM NEW.outcome_date OR OLD.outcome_type IS DISTINCT FROM NEW.outcome_type OR OLD.feedback_type IS DISTINCT FROM NEW.feedback_type OR OLD.educator_notes IS DISTINCT FROM NEW.educator_notes OR OLD.deleted_on IS DISTINCT FROM NEW.deleted_on OR OLD.reviewer IS DISTINCT FROM NEW.reviewer OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_training_feedback();

CREATE OR REPLACE TRIGGER tr_training_feedback_audit_removed BEFORE DELETE
ON training_feedback FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_training_feedback();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN model_evaluations.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_model_evaluations_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON model_evaluations FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_model_evaluations_audit_inserted AFTER INSERT
ON model_evaluations REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_model_evaluations();

CREATE OR REPLACE TRIGGER tr_model_evaluations_audit_updated AFTER UPDATE
ON model_evaluations REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_model_evaluations();

CREATE OR REPLACE TRIGGER tr_model_evaluations_audit_deleted AFTER DELETE
ON model_evaluations FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_model_evaluations();

CREATE OR REPLACE TRIGGER tr_model_evaluations_audit_truncate BEFORE TRUNCATE
ON model_evaluations FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_model_evaluations_audit_row BEFORE UPDATE
ON model_evaluations FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.model_version IS DISTINCT FROM NEW.model_version OR OLD.candidate IS DISTINCT FROM NEW.candidate OR OLD.scope IS DISTINCT FROM NEW.scope OR OLD.as_of_date IS DISTINCT FROM NEW.as_of_date OR OLD.metric IS DISTINCT FROM NEW.metric OR OLD.parameter IS DISTINCT FROM NEW.parameter OR OLD.subgroup IS DISTINCT FROM NEW.subgroup OR OLD.value IS DISTINCT FROM NEW.value OR OLD.samples IS DISTINCT FROM NEW.samples OR OLD.evaluated_at IS DISTINCT FROM NEW.evaluated_at OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_model_evaluations();

CREATE OR REPLACE TRIGGER tr_model_evaluations_audit_removed BEFORE DELETE
ON model_evaluations FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_model_evaluations();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN promotion_decisions.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_promotion_decisions_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON promotion_decisions FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_promotion_decisions_audit_inserted AFTER INSERT
ON promotion_decisions REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_promotion_decisions();

CREATE OR REPLACE TRIGGER tr_promotion_decisions_audit_updated AFTER UPDATE
ON promotion_decisions REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_promotion_decisions();

CREATE OR REPLACE TRIGGER tr_promotion_decisions_audit_deleted AFTER DELETE
ON promotion_decisions FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_promotion_decisions();

CREATE OR REPLACE TRIGGER tr_promotion_decisions_audit_truncate BEFORE TRUNCATE
ON promotion_decisions FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_promotion_decisions_audit_row BEFORE UPDATE
ON promotion_decisions FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.model_version IS DISTINCT FROM NEW.model_version OR OLD.kind IS DISTINCT FROM NEW.kind OR OLD.promoted IS DISTINCT FROM NEW.promoted OR OLD.previous_version IS DISTINCT FROM NEW.previous_version OR OLD.reason IS DISTINCT FROM NEW.reason OR OLD.numbers IS DISTINCT FROM NEW.numbers OR OLD.decided_at IS DISTINCT FROM NEW.decided_at OR OLD.run_id IS DISTINCT FROM NEW.run_id OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_promotion_decisions();

CREATE OR REPLACE TRIGGER tr_promotion_decisions_audit_removed BEFORE DELETE
ON promotion_decisions FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_promotion_decisions();

SELECT edupulse_guard('promotion_decisions');

CREATE TABLE review_proposals (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    prediction_id UUID NOT NULL,
    feature_date DATE NOT NULL,
    drawn_from INTEGER NOT NULL,
    proposed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN review_proposals.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_review_proposals_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON review_proposals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_review_proposals_audit_inserted AFTER INSERT
ON review_proposals REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_review_proposals();

CREATE OR REPLACE TRIGGER tr_review_proposals_audit_updated AFTER UPDATE
ON review_proposals REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_review_proposals();

CREATE OR REPLACE TRIGGER tr_review_proposals_audit_deleted AFTER DELETE
ON review_proposals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_review_proposals();

CREATE OR REPLACE TRIGGER tr_review_proposals_audit_truncate BEFORE TRUNCATE
ON review_proposals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_review_proposals_audit_row BEFORE UPDATE
ON review_proposals FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.prediction_id IS DISTINCT FROM NEW.prediction_id OR OLD.feature_date IS DISTINCT FROM NEW.feature_date OR OLD.drawn_from IS DISTINCT FROM NEW.drawn_from OR OLD.proposed_at IS DISTINCT FROM NEW.proposed_at OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_review_proposals();

CREATE OR REPLACE TRIGGER tr_review_proposals_audit_removed BEFORE DELETE
ON review_proposals FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_review_proposals();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN ingested_files.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_ingested_files_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON ingested_files FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_ingested_files_audit_inserted AFTER INSERT
ON ingested_files REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_ingested_files();

CREATE OR REPLACE TRIGGER tr_ingested_files_audit_updated AFTER UPDATE
ON ingested_files REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_ingested_files();

CREATE OR REPLACE TRIGGER tr_ingested_files_audit_deleted AFTER DELETE
ON ingested_files FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_ingested_files();

CREATE OR REPLACE TRIGGER tr_ingested_files_audit_truncate BEFORE TRUNCATE
ON ingested_files FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_ingested_files_audit_row BEFORE UPDATE
ON ingested_files FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.table_name IS DISTINCT FROM NEW.table_name OR OLD.delivered_on IS DISTINCT FROM NEW.delivered_on OR OLD.file_name IS DISTINCT FROM NEW.file_name OR OLD.sha256 IS DISTINCT FROM NEW.sha256 OR OLD.size_bytes IS DISTINCT FROM NEW.size_bytes OR OLD.status IS DISTINCT FROM NEW.status OR OLD.reason IS DISTINCT FROM NEW.reason OR OLD.detail IS DISTINCT FROM NEW.detail OR OLD.unknown_columns IS DISTINCT FROM NEW.unknown_columns OR OLD.rows_read IS DISTINCT FROM NEW.rows_read OR OLD.rows_inserted IS DISTINCT FROM NEW.rows_inserted OR OLD.rows_updated IS DISTINCT FROM NEW.rows_updated OR OLD.rows_unchanged IS DISTINCT FROM NEW.rows_unchanged OR OLD.rows_quarantined IS DISTINCT FROM NEW.rows_quarantined OR OLD.archived_at IS DISTINCT FROM NEW.archived_at OR OLD.loaded_at IS DISTINCT FROM NEW.loaded_at OR OLD.run_id IS DISTINCT FROM NEW.run_id OR OLD.source_format IS DISTINCT FROM NEW.source_format OR OLD.left_out IS DISTINCT FROM NEW.left_out OR OLD.snapshot IS DISTINCT FROM NEW.snapshot OR OLD.rows_deleted IS DISTINCT FROM NEW.rows_deleted OR OLD.confirms_only IS DISTINCT FROM NEW.confirms_only OR OLD.removals IS DISTINCT FROM NEW.removals OR OLD.rows_by_week IS DISTINCT FROM NEW.rows_by_week OR OLD.archive_sha256 IS DISTINCT FROM NEW.archive_sha256 OR OLD.rows_erased IS DISTINCT FROM NEW.rows_erased OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_ingested_files();

CREATE OR REPLACE TRIGGER tr_ingested_files_audit_removed BEFORE DELETE
ON ingested_files FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_ingested_files();

SELECT edupulse_guard('ingested_files');

CREATE TABLE accepted_removals (
    tenant_id VARCHAR(50) NOT NULL,
    delivered_on DATE NOT NULL,
    accepted_by VARCHAR(255),
    accepted_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_accepted_removals PRIMARY KEY (tenant_id, delivered_on)
);

COMMENT ON TABLE accepted_removals IS 'Deliveries of which a person has said that what their snapshots no longer hold is really gone.';

COMMENT ON COLUMN accepted_removals.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN accepted_removals.delivered_on IS 'Date of the delivery.';

COMMENT ON COLUMN accepted_removals.accepted_by IS 'Who said so, as the run knows it.';

COMMENT ON COLUMN accepted_removals.accepted_at IS 'When it was said.';

COMMENT ON COLUMN accepted_removals.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_accepted_removals_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON accepted_removals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_accepted_removals_audit_inserted AFTER INSERT
ON accepted_removals REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_accepted_removals();

CREATE OR REPLACE TRIGGER tr_accepted_removals_audit_updated AFTER UPDATE
ON accepted_removals REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_accepted_removals();

CREATE OR REPLACE TRIGGER tr_accepted_removals_audit_deleted AFTER DELETE
ON accepted_removals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_accepted_removals();

CREATE OR REPLACE TRIGGER tr_accepted_removals_audit_truncate BEFORE TRUNCATE
ON accepted_removals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_accepted_removals_audit_row BEFORE UPDATE
ON accepted_removals FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.delivered_on IS DISTINCT FROM NEW.delivered_on OR OLD.accepted_by IS DISTINCT FROM NEW.accepted_by OR OLD.accepted_at IS DISTINCT FROM NEW.accepted_at OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_accepted_removals();

CREATE OR REPLACE TRIGGER tr_accepted_removals_audit_removed BEFORE DELETE
ON accepted_removals FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_accepted_removals();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN quarantined_records.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_quarantined_records_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON quarantined_records FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_quarantined_records_audit_inserted AFTER INSERT
ON quarantined_records REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_quarantined_records();

CREATE OR REPLACE TRIGGER tr_quarantined_records_audit_updated AFTER UPDATE
ON quarantined_records REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_quarantined_records();

CREATE OR REPLACE TRIGGER tr_quarantined_records_audit_deleted AFTER DELETE
ON quarantined_records FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_quarantined_records();

CREATE OR REPLACE TRIGGER tr_quarantined_records_audit_truncate BEFORE TRUNCATE
ON quarantined_records FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_quarantined_records_audit_row BEFORE UPDATE
ON quarantined_records FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.table_name IS DISTINCT FROM NEW.table_name OR OLD.file_hash IS DISTINCT FROM NEW.file_hash OR OLD.file_name IS DISTINCT FROM NEW.file_name OR OLD.delivered_on IS DISTINCT FROM NEW.delivered_on OR OLD.line_number IS DISTINCT FROM NEW.line_number OR CAST(OLD.raw AS text) IS DISTINCT FROM CAST(NEW.raw AS text) OR OLD.reasons IS DISTINCT FROM NEW.reasons OR OLD.quarantined_at IS DISTINCT FROM NEW.quarantined_at OR OLD.run_id IS DISTINCT FROM NEW.run_id OR OLD.replayed_at IS DISTINCT FROM NEW.replayed_at OR OLD.superseded_at IS DISTINCT FROM NEW.superseded_at OR CAST(OLD.corrected AS text) IS DISTINCT FROM CAST(NEW.corrected AS text) OR OLD.corrected_at IS DISTINCT FROM NEW.corrected_at OR OLD.replay_run_id IS DISTINCT FROM NEW.replay_run_id OR OLD.accepted_at IS DISTINCT FROM NEW.accepted_at OR OLD.accepted_by IS DISTINCT FROM NEW.accepted_by OR OLD.accepted_reason IS DISTINCT FROM NEW.accepted_reason OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_quarantined_records();

CREATE OR REPLACE TRIGGER tr_quarantined_records_audit_removed BEFORE DELETE
ON quarantined_records FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_quarantined_records();

SELECT edupulse_guard('quarantined_records');

CREATE TABLE disputed_numbers (
    tenant_id VARCHAR(50) NOT NULL,
    district_id VARCHAR(50) NOT NULL,
    since DATE NOT NULL,
    until DATE,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_disputed_numbers PRIMARY KEY (tenant_id, district_id, since)
);

COMMENT ON TABLE disputed_numbers IS 'Numbers under which another child was delivered: from when to when nobody knows whose records are meant.';

COMMENT ON COLUMN disputed_numbers.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN disputed_numbers.district_id IS 'The student''s number.';

COMMENT ON COLUMN disputed_numbers.since IS 'The delivery that named another child under the number.';

COMMENT ON COLUMN disputed_numbers.until IS 'The next delivery that named the first child again; NULL while there is none.';

COMMENT ON COLUMN disputed_numbers.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_disputed_numbers_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON disputed_numbers FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_disputed_numbers_audit_inserted AFTER INSERT
ON disputed_numbers REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_disputed_numbers();

CREATE OR REPLACE TRIGGER tr_disputed_numbers_audit_updated AFTER UPDATE
ON disputed_numbers REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_disputed_numbers();

CREATE OR REPLACE TRIGGER tr_disputed_numbers_audit_deleted AFTER DELETE
ON disputed_numbers FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_disputed_numbers();

CREATE OR REPLACE TRIGGER tr_disputed_numbers_audit_truncate BEFORE TRUNCATE
ON disputed_numbers FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_disputed_numbers_audit_row BEFORE UPDATE
ON disputed_numbers FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.district_id IS DISTINCT FROM NEW.district_id OR OLD.since IS DISTINCT FROM NEW.since OR OLD.until IS DISTINCT FROM NEW.until OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_disputed_numbers();

CREATE OR REPLACE TRIGGER tr_disputed_numbers_audit_removed BEFORE DELETE
ON disputed_numbers FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_disputed_numbers();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN student_merges.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_student_merges_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON student_merges FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_student_merges_audit_inserted AFTER INSERT
ON student_merges REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_student_merges();

CREATE OR REPLACE TRIGGER tr_student_merges_audit_updated AFTER UPDATE
ON student_merges REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_student_merges();

CREATE OR REPLACE TRIGGER tr_student_merges_audit_deleted AFTER DELETE
ON student_merges FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_student_merges();

CREATE OR REPLACE TRIGGER tr_student_merges_audit_truncate BEFORE TRUNCATE
ON student_merges FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_student_merges_audit_row BEFORE UPDATE
ON student_merges FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.old_number IS DISTINCT FROM NEW.old_number OR OLD.new_number IS DISTINCT FROM NEW.new_number OR OLD.reason IS DISTINCT FROM NEW.reason OR OLD.merged_by IS DISTINCT FROM NEW.merged_by OR OLD.merged_at IS DISTINCT FROM NEW.merged_at OR OLD.undone_by IS DISTINCT FROM NEW.undone_by OR OLD.undone_at IS DISTINCT FROM NEW.undone_at OR OLD.in_force IS DISTINCT FROM NEW.in_force OR OLD.moved IS DISTINCT FROM NEW.moved OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_student_merges();

CREATE OR REPLACE TRIGGER tr_student_merges_audit_removed BEFORE DELETE
ON student_merges FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_student_merges();

SELECT edupulse_guard('student_merges');

CREATE TABLE instructional_days (
    tenant_id VARCHAR(50) NOT NULL,
    date DATE NOT NULL,
    delivered_on DATE NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_instructional_days PRIMARY KEY (tenant_id, date)
);

COMMENT ON TABLE instructional_days IS 'The school days a source''s own calendar names; with them exceptions-only attendance has a denominator.';

COMMENT ON COLUMN instructional_days.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN instructional_days.date IS 'A day of instruction.';

COMMENT ON COLUMN instructional_days.delivered_on IS 'Date of the newest delivery that named it.';

COMMENT ON COLUMN instructional_days.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_instructional_days_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON instructional_days FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_instructional_days_audit_inserted AFTER INSERT
ON instructional_days REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_instructional_days();

CREATE OR REPLACE TRIGGER tr_instructional_days_audit_updated AFTER UPDATE
ON instructional_days REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_instructional_days();

CREATE OR REPLACE TRIGGER tr_instructional_days_audit_deleted AFTER DELETE
ON instructional_days FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_instructional_days();

CREATE OR REPLACE TRIGGER tr_instructional_days_audit_truncate BEFORE TRUNCATE
ON instructional_days FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_instructional_days_audit_row BEFORE UPDATE
ON instructional_days FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.date IS DISTINCT FROM NEW.date OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_instructional_days();

CREATE OR REPLACE TRIGGER tr_instructional_days_audit_removed BEFORE DELETE
ON instructional_days FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_instructional_days();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN weekly_activity.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_weekly_activity_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON weekly_activity FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_weekly_activity_audit_inserted AFTER INSERT
ON weekly_activity REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_weekly_activity();

CREATE OR REPLACE TRIGGER tr_weekly_activity_audit_updated AFTER UPDATE
ON weekly_activity REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_weekly_activity();

CREATE OR REPLACE TRIGGER tr_weekly_activity_audit_deleted AFTER DELETE
ON weekly_activity REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_weekly_activity();

CREATE OR REPLACE TRIGGER tr_weekly_activity_audit_truncate BEFORE TRUNCATE
ON weekly_activity FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_weekly_activity_audit_row BEFORE UPDATE
ON weekly_activity FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.week_start IS DISTINCT FROM NEW.week_start OR OLD.sessions_present IS DISTINCT FROM NEW.sessions_present OR OLD.sessions_absent IS DISTINCT FROM NEW.sessions_absent OR OLD.sessions_tardy IS DISTINCT FROM NEW.sessions_tardy OR OLD.sessions_excused IS DISTINCT FROM NEW.sessions_excused OR OLD.unexcused_absences IS DISTINCT FROM NEW.unexcused_absences OR OLD.grade_count IS DISTINCT FROM NEW.grade_count OR OLD.grade_mean IS DISTINCT FROM NEW.grade_mean OR OLD.grade_lowest IS DISTINCT FROM NEW.grade_lowest OR OLD.incident_count IS DISTINCT FROM NEW.incident_count OR OLD.severity_highest IS DISTINCT FROM NEW.severity_highest OR OLD.sessions_basis IS DISTINCT FROM NEW.sessions_basis OR OLD.days_enrolled IS DISTINCT FROM NEW.days_enrolled OR OLD.days_present IS DISTINCT FROM NEW.days_present OR OLD.days_absent IS DISTINCT FROM NEW.days_absent OR OLD.days_excused IS DISTINCT FROM NEW.days_excused OR OLD.days_missed IS DISTINCT FROM NEW.days_missed OR OLD.days_basis IS DISTINCT FROM NEW.days_basis OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_weekly_activity();

SELECT edupulse_guard('weekly_activity');

CREATE TABLE weekly_course_grades (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    week_start DATE NOT NULL,
    course_id VARCHAR(50) NOT NULL,
    grade_count INTEGER NOT NULL,
    grade_mean DOUBLE PRECISION NOT NULL,
    grade_lowest DOUBLE PRECISION NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN weekly_course_grades.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_weekly_course_grades_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON weekly_course_grades FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_weekly_course_grades_audit_inserted AFTER INSERT
ON weekly_course_grades REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_weekly_course_grades();

CREATE OR REPLACE TRIGGER tr_weekly_course_grades_audit_updated AFTER UPDATE
ON weekly_course_grades REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_weekly_course_grades();

CREATE OR REPLACE TRIGGER tr_weekly_course_grades_audit_deleted AFTER DELETE
ON weekly_course_grades REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_weekly_course_grades();

CREATE OR REPLACE TRIGGER tr_weekly_course_grades_audit_truncate BEFORE TRUNCATE
ON weekly_course_grades FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_weekly_course_grades_audit_row BEFORE UPDATE
ON weekly_course_grades FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.week_start IS DISTINCT FROM NEW.week_start OR OLD.course_id IS DISTINCT FROM NEW.course_id OR OLD.grade_count IS DISTINCT FROM NEW.grade_count OR OLD.grade_mean IS DISTINCT FROM NEW.grade_mean OR OLD.grade_lowest IS DISTINCT FROM NEW.grade_lowest OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_weekly_course_grades();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_step_accounts PRIMARY KEY (tenant_id, run_id, step, part)
);

COMMENT ON TABLE step_accounts IS 'What each step of a run has done so far; a step that is tried again tells what all its tries did.';

COMMENT ON COLUMN step_accounts.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN step_accounts.run_id IS 'The Dagster run.';

COMMENT ON COLUMN step_accounts.step IS 'The table that the step fills.';

COMMENT ON COLUMN step_accounts.part IS 'Date of the delivery, or Monday of the week, that was worked on; empty for the whole step.';

COMMENT ON COLUMN step_accounts.account IS 'Counts by name; also of codes that the profile does not map.';

COMMENT ON COLUMN step_accounts.created_at IS 'When the row was first written.';

COMMENT ON COLUMN step_accounts.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_step_accounts_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON step_accounts FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_step_accounts_audit_inserted AFTER INSERT
ON step_accounts REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_step_accounts();

CREATE OR REPLACE TRIGGER tr_step_accounts_audit_updated AFTER UPDATE
ON step_accounts REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_step_accounts();

CREATE OR REPLACE TRIGGER tr_step_accounts_audit_deleted AFTER DELETE
ON step_accounts FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_step_accounts();

CREATE OR REPLACE TRIGGER tr_step_accounts_audit_truncate BEFORE TRUNCATE
ON step_accounts FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_step_accounts_audit_row BEFORE UPDATE
ON step_accounts FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.run_id IS DISTINCT FROM NEW.run_id OR OLD.step IS DISTINCT FROM NEW.step OR OLD.part IS DISTINCT FROM NEW.part OR OLD.account IS DISTINCT FROM NEW.account OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_step_accounts();

CREATE OR REPLACE TRIGGER tr_step_accounts_audit_removed BEFORE DELETE
ON step_accounts FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_step_accounts();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN disclosures.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_disclosures_append_only_row AFTER UPDATE OR DELETE
ON disclosures FOR EACH ROW EXECUTE FUNCTION edupulse_refuse_change();

CREATE OR REPLACE TRIGGER tr_disclosures_append_only_statement BEFORE TRUNCATE
ON disclosures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_refuse_change();

CREATE OR REPLACE TRIGGER tr_disclosures_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON disclosures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_disclosures_audit_inserted AFTER INSERT
ON disclosures REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_disclosures();

CREATE OR REPLACE TRIGGER tr_disclosures_audit_updated AFTER UPDATE
ON disclosures REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_disclosures();

CREATE OR REPLACE TRIGGER tr_disclosures_audit_deleted AFTER DELETE
ON disclosures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_disclosures();

CREATE OR REPLACE TRIGGER tr_disclosures_audit_truncate BEFORE TRUNCATE
ON disclosures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_disclosures_audit_row BEFORE UPDATE
ON disclosures FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.kind IS DISTINCT FROM NEW.kind OR OLD.subject_hash IS DISTINCT FROM NEW.subject_hash OR OLD.disclosed_at IS DISTINCT FROM NEW.disclosed_at OR OLD.disclosed_by IS DISTINCT FROM NEW.disclosed_by OR OLD.recipient IS DISTINCT FROM NEW.recipient OR OLD.purpose IS DISTINCT FROM NEW.purpose OR OLD.legal_basis IS DISTINCT FROM NEW.legal_basis OR OLD.files IS DISTINCT FROM NEW.files OR OLD.counts IS DISTINCT FROM NEW.counts OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_disclosures();

CREATE OR REPLACE TRIGGER tr_disclosures_audit_removed BEFORE DELETE
ON disclosures FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_disclosures();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_erasures PRIMARY KEY (id),
    CONSTRAINT uq_erasures_number_hash UNIQUE (tenant_id, number_hash),
    CONSTRAINT uq_erasures_id UNIQUE (tenant_id, id)
);

COMMENT ON TABLE erasures IS 'Erasures of students, and what retention took away: who wanted it, who approved, and how much went. No row names a student.';

COMMENT ON COLUMN erasures.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN erasures.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN erasures.number_hash IS 'Keyed hash of the student''s number; of retention, of the id of its certificate.';

COMMENT ON COLUMN erasures.reason IS 'Why, as the person said it.';

COMMENT ON COLUMN erasures.erased_by IS 'Who erased.';

COMMENT ON COLUMN erasures.approved_by IS 'Who approved; another person.';

COMMENT ON COLUMN erasures.begun_at IS 'When it was begun.';

COMMENT ON COLUMN erasures.done_at IS 'When all was gone; NULL while it is not.';

COMMENT ON COLUMN erasures.counts IS 'What was taken away, by place.';

COMMENT ON COLUMN erasures.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_erasures_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON erasures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_erasures_audit_inserted AFTER INSERT
ON erasures REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_erasures();

CREATE OR REPLACE TRIGGER tr_erasures_audit_updated AFTER UPDATE
ON erasures REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_erasures();

CREATE OR REPLACE TRIGGER tr_erasures_audit_deleted AFTER DELETE
ON erasures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_erasures();

CREATE OR REPLACE TRIGGER tr_erasures_audit_truncate BEFORE TRUNCATE
ON erasures FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_erasures_audit_row BEFORE UPDATE
ON erasures FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.number_hash IS DISTINCT FROM NEW.number_hash OR OLD.reason IS DISTINCT FROM NEW.reason OR OLD.erased_by IS DISTINCT FROM NEW.erased_by OR OLD.approved_by IS DISTINCT FROM NEW.approved_by OR OLD.begun_at IS DISTINCT FROM NEW.begun_at OR OLD.done_at IS DISTINCT FROM NEW.done_at OR OLD.counts IS DISTINCT FROM NEW.counts OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_erasures();

CREATE OR REPLACE TRIGGER tr_erasures_audit_removed BEFORE DELETE
ON erasures FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_erasures();

SELECT edupulse_guard('erasures');

CREATE TABLE erased_keys (
    tenant_id VARCHAR(50) NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    erasure_id UUID NOT NULL,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_erased_keys PRIMARY KEY (tenant_id, key_hash),
    CONSTRAINT fk_erased_keys_erasures FOREIGN KEY(tenant_id, erasure_id) REFERENCES erasures (tenant_id, id) ON DELETE RESTRICT
);

COMMENT ON TABLE erased_keys IS 'Keyed hashes of what names an erased student, so that a file landed again does not bring the student back.';

COMMENT ON COLUMN erased_keys.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN erased_keys.key_hash IS 'Keyed hash of a number, an id, a name or a header.';

COMMENT ON COLUMN erased_keys.erasure_id IS 'The erasure it belongs to.';

COMMENT ON COLUMN erased_keys.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_erased_keys_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON erased_keys FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_erased_keys_audit_inserted AFTER INSERT
ON erased_keys REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_erased_keys();

CREATE OR REPLACE TRIGGER tr_erased_keys_audit_updated AFTER UPDATE
ON erased_keys REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_erased_keys();

CREATE OR REPLACE TRIGGER tr_erased_keys_audit_deleted AFTER DELETE
ON erased_keys FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_erased_keys();

CREATE OR REPLACE TRIGGER tr_erased_keys_audit_truncate BEFORE TRUNCATE
ON erased_keys FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_erased_keys_audit_row BEFORE UPDATE
ON erased_keys FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.key_hash IS DISTINCT FROM NEW.key_hash OR OLD.erasure_id IS DISTINCT FROM NEW.erasure_id OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_erased_keys();

CREATE OR REPLACE TRIGGER tr_erased_keys_audit_removed BEFORE DELETE
ON erased_keys FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_erased_keys();

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
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
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

COMMENT ON COLUMN legal_holds.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_legal_holds_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON legal_holds FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_legal_holds_audit_inserted AFTER INSERT
ON legal_holds REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_legal_holds();

CREATE OR REPLACE TRIGGER tr_legal_holds_audit_updated AFTER UPDATE
ON legal_holds REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_legal_holds();

CREATE OR REPLACE TRIGGER tr_legal_holds_audit_deleted AFTER DELETE
ON legal_holds FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_legal_holds();

CREATE OR REPLACE TRIGGER tr_legal_holds_audit_truncate BEFORE TRUNCATE
ON legal_holds FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_legal_holds_audit_row BEFORE UPDATE
ON legal_holds FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.district_id IS DISTINCT FROM NEW.district_id OR OLD.reason IS DISTINCT FROM NEW.reason OR OLD.placed_by IS DISTINCT FROM NEW.placed_by OR OLD.placed_at IS DISTINCT FROM NEW.placed_at OR OLD.released_by IS DISTINCT FROM NEW.released_by OR OLD.released_at IS DISTINCT FROM NEW.released_at OR OLD.in_force IS DISTINCT FROM NEW.in_force OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_legal_holds();

CREATE OR REPLACE TRIGGER tr_legal_holds_audit_removed BEFORE DELETE
ON legal_holds FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_legal_holds();

SELECT edupulse_guard('legal_holds');

CREATE TABLE audit_changes (
    id BIGSERIAL NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT CURRENT_TIMESTAMP NOT NULL,
    actor VARCHAR(255) NOT NULL,
    database_user VARCHAR(255) NOT NULL,
    run_id VARCHAR(50),
    transaction_id BIGINT,
    link_number BIGINT,
    linked_at TIMESTAMP WITH TIME ZONE,
    link VARCHAR(64),
    CONSTRAINT pk_audit_changes PRIMARY KEY (id),
    CONSTRAINT uq_audit_changes_link_number UNIQUE (link_number)
);

CREATE INDEX ix_audit_changes_changed_at ON audit_changes (tenant_id, changed_at);

CREATE INDEX ix_audit_changes_run_id ON audit_changes (run_id);

COMMENT ON TABLE audit_changes IS 'Every transaction that changed an audited row: who, when, in which run; and its link in the chain.';

COMMENT ON COLUMN audit_changes.id IS 'Number of the change; numbers may be left out.';

COMMENT ON COLUMN audit_changes.tenant_id IS 'The district it was made for, or whose rows it changed first; empty for none.';

COMMENT ON COLUMN audit_changes.changed_at IS 'When the transaction began.';

COMMENT ON COLUMN audit_changes.actor IS 'Who asked for it, as the pipelines know it.';

COMMENT ON COLUMN audit_changes.database_user IS 'The role that was logged in; on SQLite the operating system''s user.';

COMMENT ON COLUMN audit_changes.run_id IS 'The run that made it.';

COMMENT ON COLUMN audit_changes.transaction_id IS 'The server''s number of the transaction; NULL on SQLite.';

COMMENT ON COLUMN audit_changes.link_number IS 'Its place in the chain, by the order in which transactions were committed.';

COMMENT ON COLUMN audit_changes.linked_at IS 'When it was committed.';

COMMENT ON COLUMN audit_changes.link IS 'SHA-256 of the link before, of this row and of its entries. NULL only before it is committed.';

CREATE OR REPLACE TRIGGER tr_audit_changes_fixed_inserts BEFORE INSERT
ON audit_changes FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_fixed();

CREATE OR REPLACE TRIGGER tr_audit_changes_fixed_rows BEFORE UPDATE OR DELETE
ON audit_changes FOR EACH ROW EXECUTE FUNCTION edupulse_audit_fixed();

CREATE OR REPLACE TRIGGER tr_audit_changes_fixed_truncate BEFORE TRUNCATE
ON audit_changes FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_fixed();

DROP TRIGGER IF EXISTS tr_audit_changes_link ON audit_changes;
CREATE CONSTRAINT TRIGGER tr_audit_changes_link AFTER INSERT
ON audit_changes DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION edupulse_audit_link();

SELECT edupulse_guard('audit_changes');

CREATE TABLE audit_entries (
    change_id BIGINT NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(63) NOT NULL,
    operation VARCHAR(10) NOT NULL,
    rows BIGINT NOT NULL,
    columns INTEGER,
    content VARCHAR(64),
    images VARCHAR(64),
    replaced JSONB,
    CONSTRAINT pk_audit_entries PRIMARY KEY (change_id, tenant_id, table_name, operation),
    CONSTRAINT ck_audit_entries_operation_values CHECK (operation IN ('before', 'insert', 'update', 'delete', 'write', 'replace', 'detach', 'attach', 'restate'))
);

CREATE INDEX ix_audit_entries_table_name ON audit_entries (table_name);

COMMENT ON TABLE audit_entries IS 'What a change did to each table: one row a statement (SQLite: a table); an insert is on record by this.';

COMMENT ON COLUMN audit_entries.change_id IS 'As in the rows it wrote. 0: rows that were there before changes were on record.';

COMMENT ON COLUMN audit_entries.tenant_id IS 'The district whose rows it changed.';

COMMENT ON COLUMN audit_entries.table_name IS 'The table.';

COMMENT ON COLUMN audit_entries.operation IS '`before`: counted when the record began. `write` and `replace` (SQLite): rows added or changed, and those that were changed or removed. `detach`, `attach`: a month that was taken out or brought back. `restate`: what an erasure has left of the rows that another change wrote (named in `replaced`).';

COMMENT ON COLUMN audit_entries.rows IS 'Rows it wrote, removed or moved.';

COMMENT ON COLUMN audit_entries.columns IS 'How many audited columns the table had; `content` is of the first so many.';

COMMENT ON COLUMN audit_entries.content IS 'SHA-256 of the rows it wrote (of a month: of those in it), less bookkeeping columns.';

COMMENT ON COLUMN audit_entries.images IS 'SHA-256 of the hashes of what it replaced or removed (`audit_images`).';

COMMENT ON COLUMN audit_entries.replaced IS 'Where no images are kept, and of months: rows that left (or came back), by their `change_id`. Of `restate`: rows that are left.';

CREATE OR REPLACE TRIGGER tr_audit_entries_fixed_inserts BEFORE INSERT
ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_fixed();

CREATE OR REPLACE TRIGGER tr_audit_entries_fixed_rows BEFORE UPDATE OR DELETE
ON audit_entries FOR EACH ROW EXECUTE FUNCTION edupulse_audit_fixed();

CREATE OR REPLACE TRIGGER tr_audit_entries_fixed_truncate BEFORE TRUNCATE
ON audit_entries FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_fixed();

SELECT edupulse_guard('audit_entries');

CREATE TABLE audit_images (
    id UUID DEFAULT gen_random_uuid() NOT NULL,
    tenant_id VARCHAR(50) NOT NULL,
    table_name VARCHAR(63) NOT NULL,
    row_key TEXT NOT NULL,
    student_id UUID,
    written_by BIGINT NOT NULL,
    replaced_by BIGINT NOT NULL,
    image JSONB,
    salt VARCHAR(32),
    hash VARCHAR(64),
    CONSTRAINT pk_audit_images PRIMARY KEY (id)
);

CREATE INDEX ix_audit_images_replaced_by ON audit_images (replaced_by);

CREATE INDEX ix_audit_images_student_id ON audit_images (student_id);

CREATE INDEX ix_audit_images_table_name_row_key ON audit_images (table_name, row_key);

COMMENT ON TABLE audit_images IS 'Rows as they were before they were replaced or removed.';

COMMENT ON COLUMN audit_images.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN audit_images.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN audit_images.table_name IS 'The table.';

COMMENT ON COLUMN audit_images.row_key IS 'The row''s key: its id, or the columns of its key, parted by `|`.';

COMMENT ON COLUMN audit_images.student_id IS 'The student it is about, where it names one.';

COMMENT ON COLUMN audit_images.written_by IS '`change_id` of what wrote the row so.';

COMMENT ON COLUMN audit_images.replaced_by IS '`change_id` of what replaced or removed it.';

COMMENT ON COLUMN audit_images.image IS 'The row; NULL once it is erased.';

COMMENT ON COLUMN audit_images.salt IS 'Random; without it nobody can guess the row from its hash. NULL once the row is erased.';

COMMENT ON COLUMN audit_images.hash IS 'SHA-256 of salt and row. NULL (SQLite): not changed by the pipelines.';

CREATE OR REPLACE TRIGGER tr_audit_images_fixed_inserts BEFORE INSERT
ON audit_images FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_fixed();

CREATE OR REPLACE TRIGGER tr_audit_images_fixed_rows BEFORE UPDATE OR DELETE
ON audit_images FOR EACH ROW EXECUTE FUNCTION edupulse_audit_fixed();

CREATE OR REPLACE TRIGGER tr_audit_images_fixed_truncate BEFORE TRUNCATE
ON audit_images FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_fixed();

SELECT edupulse_guard('audit_images');

CREATE TABLE retention_removals (
    tenant_id VARCHAR(50) NOT NULL,
    student_id UUID NOT NULL,
    table_name VARCHAR(50) NOT NULL,
    through DATE NOT NULL,
    removed_at TIMESTAMP WITH TIME ZONE,
    change_id BIGINT DEFAULT CAST(coalesce(nullif(current_setting('app.audit_insert', true), ''), '0') AS bigint) NOT NULL,
    CONSTRAINT pk_retention_removals PRIMARY KEY (student_id, table_name),
    CONSTRAINT fk_retention_removals_students FOREIGN KEY(tenant_id, student_id) REFERENCES students (tenant_id, id) ON DELETE RESTRICT
);

CREATE INDEX ix_retention_removals_table_name ON retention_removals (tenant_id, table_name);

COMMENT ON TABLE retention_removals IS 'Of which students retention has taken records or predictions away, by table: rows dated up to a day are left out when they are landed again, and nothing is computed of that time any more.';

COMMENT ON COLUMN retention_removals.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN retention_removals.student_id IS 'The student the row is about.';

COMMENT ON COLUMN retention_removals.table_name IS 'The table that rows were taken from.';

COMMENT ON COLUMN retention_removals.through IS 'Rows dated up to this day are gone: the day it was begun.';

COMMENT ON COLUMN retention_removals.removed_at IS 'When all was gone; NULL until then.';

COMMENT ON COLUMN retention_removals.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_retention_removals_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON retention_removals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_retention_removals_audit_inserted AFTER INSERT
ON retention_removals REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_retention_removals();

CREATE OR REPLACE TRIGGER tr_retention_removals_audit_updated AFTER UPDATE
ON retention_removals REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_retention_removals();

CREATE OR REPLACE TRIGGER tr_retention_removals_audit_deleted AFTER DELETE
ON retention_removals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_retention_removals();

CREATE OR REPLACE TRIGGER tr_retention_removals_audit_truncate BEFORE TRUNCATE
ON retention_removals FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_retention_removals_audit_row BEFORE UPDATE
ON retention_removals FOR EACH ROW WHEN (OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.student_id IS DISTINCT FROM NEW.student_id OR OLD.table_name IS DISTINCT FROM NEW.table_name OR OLD.through IS DISTINCT FROM NEW.through OR OLD.removed_at IS DISTINCT FROM NEW.removed_at OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_retention_removals();

CREATE OR REPLACE TRIGGER tr_retention_removals_audit_removed BEFORE DELETE
ON retention_removals FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_retention_removals();

SELECT edupulse_guard('retention_removals');

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
);

CREATE INDEX ix_retention_certificates_signed_at ON retention_certificates (tenant_id, signed_at);

COMMENT ON TABLE retention_certificates IS 'What retention has taken away: how much, by whom, and who approved. Nothing of it is changed.';

COMMENT ON COLUMN retention_certificates.id IS 'System-generated, time-ordered identifier.';

COMMENT ON COLUMN retention_certificates.tenant_id IS 'The school district that owns the row.';

COMMENT ON COLUMN retention_certificates.signed_at IS 'When all was gone.';

COMMENT ON COLUMN retention_certificates.executed_by IS 'Who executed it.';

COMMENT ON COLUMN retention_certificates.approved_by IS 'Who approved; another person.';

COMMENT ON COLUMN retention_certificates.reason IS 'Why, as the person said it.';

COMMENT ON COLUMN retention_certificates.document IS 'The certificate itself: periods, counts, hashes of what is gone, the last backup, what remains.';

COMMENT ON COLUMN retention_certificates.sha256 IS 'Hash of the certificate''s file, which is the document.';

COMMENT ON COLUMN retention_certificates.change_id IS 'What wrote the row as it is: the number of the change (`audit_changes`) times 1,048,576, plus that of the statement (`audit_entries`). 0: from before changes were on record, or (SQLite) not by the pipelines.';

CREATE OR REPLACE TRIGGER tr_retention_certificates_append_only_row AFTER UPDATE OR DELETE
ON retention_certificates FOR EACH ROW EXECUTE FUNCTION edupulse_refuse_change();

CREATE OR REPLACE TRIGGER tr_retention_certificates_append_only_statement BEFORE TRUNCATE
ON retention_certificates FOR EACH STATEMENT EXECUTE FUNCTION edupulse_refuse_change();

CREATE OR REPLACE TRIGGER tr_retention_certificates_audit_begin BEFORE INSERT OR UPDATE OR DELETE
ON retention_certificates FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_begin();

CREATE OR REPLACE TRIGGER tr_retention_certificates_audit_inserted AFTER INSERT
ON retention_certificates REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_retention_certificates();

CREATE OR REPLACE TRIGGER tr_retention_certificates_audit_updated AFTER UPDATE
ON retention_certificates REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_retention_certificates();

CREATE OR REPLACE TRIGGER tr_retention_certificates_audit_deleted AFTER DELETE
ON retention_certificates FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_statement_retention_certificates();

CREATE OR REPLACE TRIGGER tr_retention_certificates_audit_truncate BEFORE TRUNCATE
ON retention_certificates FOR EACH STATEMENT EXECUTE FUNCTION edupulse_audit_refuse_truncate();

CREATE OR REPLACE TRIGGER tr_retention_certificates_audit_row BEFORE UPDATE
ON retention_certificates FOR EACH ROW WHEN (OLD.id IS DISTINCT FROM NEW.id OR OLD.tenant_id IS DISTINCT FROM NEW.tenant_id OR OLD.signed_at IS DISTINCT FROM NEW.signed_at OR OLD.executed_by IS DISTINCT FROM NEW.executed_by OR OLD.approved_by IS DISTINCT FROM NEW.approved_by OR OLD.reason IS DISTINCT FROM NEW.reason OR CAST(OLD.document AS text) IS DISTINCT FROM CAST(NEW.document AS text) OR OLD.sha256 IS DISTINCT FROM NEW.sha256 OR OLD.change_id IS DISTINCT FROM NEW.change_id)
EXECUTE FUNCTION edupulse_audit_row_retention_certificates();

CREATE OR REPLACE TRIGGER tr_retention_certificates_audit_removed BEFORE DELETE
ON retention_certificates FOR EACH ROW EXECUTE FUNCTION edupulse_audit_row_retention_certificates();

SELECT edupulse_guard('retention_certificates');

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
    PERFORM edupulse_audit_release(final);
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
    -- Rows that move from one partition to another are the same rows: nothing to keep on record.
    EXECUTE format('ALTER TABLE %I DISABLE TRIGGER USER', parent || '_default');
    EXECUTE format('WITH taken AS (DELETE FROM %I WHERE %s RETURNING %s) INSERT INTO %I (%s) SELECT %s FROM taken',
                   parent || '_default', edupulse_month_bounds(parent, month), columns, made, columns, columns);
    GET DIAGNOSTICS moved = ROW_COUNT;
    EXECUTE format('ALTER TABLE %I ENABLE TRIGGER USER', parent || '_default');
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
    PERFORM edupulse_audit_arrive(parent, made);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, made, month, CAST(month + interval '1 month' AS date));
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS ck_month', made);
    PERFORM edupulse_guard_rows(made);
    PERFORM edupulse_audit_guard(parent, made);
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
    -- Its rows are put on record by the change that they name, and that is the one of the transaction that began it.
    IF (
        SELECT obj_description(oid, 'pg_constraint') FROM pg_constraint
        WHERE conrelid = to_regclass(quote_ident(made)) AND conname = 'ck_change'
    ) IS DISTINCT FROM nullif(current_setting('app.audit_change', true), '') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s was begun by another transaction', made);
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
    PERFORM edupulse_audit_start(made);
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

CREATE OR REPLACE FUNCTION students_as_recorded(moment timestamp with time zone) RETURNS SETOF students
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT r.* FROM students r WHERE (r.change_id = 0 OR r.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS students), i.image) r
    WHERE i.table_name = 'students' AND i.image IS NOT NULL AND (i.written_by = 0 OR i.written_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment)) AND NOT (i.replaced_by = 0 OR i.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
$$;

CREATE OR REPLACE FUNCTION schools_as_recorded(moment timestamp with time zone) RETURNS SETOF schools
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT r.* FROM schools r WHERE (r.change_id = 0 OR r.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS schools), i.image) r
    WHERE i.table_name = 'schools' AND i.image IS NOT NULL AND (i.written_by = 0 OR i.written_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment)) AND NOT (i.replaced_by = 0 OR i.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
$$;

CREATE OR REPLACE FUNCTION enrollments_as_recorded(moment timestamp with time zone) RETURNS SETOF enrollments
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT r.* FROM enrollments r WHERE (r.change_id = 0 OR r.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS enrollments), i.image) r
    WHERE i.table_name = 'enrollments' AND i.image IS NOT NULL AND (i.written_by = 0 OR i.written_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment)) AND NOT (i.replaced_by = 0 OR i.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
$$;

CREATE OR REPLACE FUNCTION attendance_records_as_recorded(moment timestamp with time zone) RETURNS SETOF attendance_records
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT r.* FROM attendance_records r WHERE (r.change_id = 0 OR r.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS attendance_records), i.image) r
    WHERE i.table_name = 'attendance_records' AND i.image IS NOT NULL AND (i.written_by = 0 OR i.written_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment)) AND NOT (i.replaced_by = 0 OR i.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
$$;

CREATE OR REPLACE FUNCTION grades_as_recorded(moment timestamp with time zone) RETURNS SETOF grades
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT r.* FROM grades r WHERE (r.change_id = 0 OR r.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS grades), i.image) r
    WHERE i.table_name = 'grades' AND i.image IS NOT NULL AND (i.written_by = 0 OR i.written_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment)) AND NOT (i.replaced_by = 0 OR i.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
$$;

CREATE OR REPLACE FUNCTION discipline_incidents_as_recorded(moment timestamp with time zone) RETURNS SETOF discipline_incidents
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT r.* FROM discipline_incidents r WHERE (r.change_id = 0 OR r.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS discipline_incidents), i.image) r
    WHERE i.table_name = 'discipline_incidents' AND i.image IS NOT NULL AND (i.written_by = 0 OR i.written_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment)) AND NOT (i.replaced_by = 0 OR i.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
$$;

CREATE OR REPLACE FUNCTION training_feedback_as_recorded(moment timestamp with time zone) RETURNS SETOF training_feedback
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT r.* FROM training_feedback r WHERE (r.change_id = 0 OR r.change_id / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
    UNION ALL
    SELECT r.*
    FROM audit_images i CROSS JOIN LATERAL jsonb_populate_record(CAST(NULL AS training_feedback), i.image) r
    WHERE i.table_name = 'training_feedback' AND i.image IS NOT NULL AND (i.written_by = 0 OR i.written_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment)) AND NOT (i.replaced_by = 0 OR i.replaced_by / 1048576 IN (SELECT id FROM audit_changes WHERE linked_at <= moment))
$$;

SELECT edupulse_audit_guard('attendance_records', CAST(c.relname AS text))
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = CAST('attendance_records' AS regclass);
