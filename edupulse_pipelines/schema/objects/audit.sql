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
    IF statement >= {statements} THEN
        RAISE program_limit_exceeded USING MESSAGE = 'too many statements in one transaction to keep on record';
    END IF;
    PERFORM set_config('app.audit_statement', CAST(statement AS text), true);
    RETURN change * {statements} + statement;
END
$$

--;

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
    IF number / {statements} IS DISTINCT FROM CAST(nullif(current_setting('app.audit_change', true), '') AS bigint) THEN
        RAISE insufficient_privilege USING MESSAGE = format('change %s is not this transaction''s', number / {statements});
    END IF;
    RETURN number;
END
$$

--;

-- Before a statement: give it its `change_id`.
CREATE OR REPLACE FUNCTION edupulse_audit_begin() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM set_config('app.audit_' || lower(TG_OP), CAST(edupulse_audit_next() AS text), true);
    RETURN NULL;
END
$$

--;

-- Before TRUNCATE: refused, as nothing would say what was there.
CREATE OR REPLACE FUNCTION edupulse_audit_refuse_truncate() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE =
        format('%s is not truncated: changes of it are on record; delete rows instead', TG_TABLE_NAME);
END
$$

--;

-- Write what a statement did, and the change with the first one. An error unless the change is this transaction's and has
-- not been closed. It works with its caller's rights: only the owner may write into the record.
CREATE OR REPLACE FUNCTION edupulse_audit_record(
    number bigint, tenant text, of_table text, what text, how_many bigint, column_count integer, hash text,
    images_hash text, gone jsonb
) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    this constant bigint := nullif(current_setting('app.audit_change', true), '');
    own constant bigint := CAST(CAST(pg_current_xact_id() AS text) AS bigint);
BEGIN
    IF number / {statements} IS DISTINCT FROM this THEN
        RAISE insufficient_privilege USING MESSAGE = format('change %s is not this transaction''s', number / {statements});
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
$$

--;

-- The hash of what a statement has replaced or removed in a district.
CREATE OR REPLACE FUNCTION edupulse_audit_images(number bigint, tenant text) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    RETURN (
        SELECT encode(sha256(convert_to(string_agg(
            written_by || ':' || hash, E'\n' ORDER BY written_by, hash COLLATE "C"
        ), 'UTF8')), 'hex')
        FROM audit_images WHERE replaced_by = number AND tenant_id = tenant
    );
END
$$

--;

-- At the end of a transaction that changed rows: its link in the chain. The lock is held until the transaction is over,
-- so that links are made one after another.
CREATE OR REPLACE FUNCTION edupulse_audit_link() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
DECLARE
    before record;
    this record;
    place bigint;
    at constant timestamptz := clock_timestamp();
    entries text;
BEGIN
    PERFORM pg_advisory_xact_lock({lock});
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
$$

--;

-- The entries of a change as the chain binds them.
CREATE OR REPLACE FUNCTION edupulse_audit_entries(change bigint) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    RETURN (
        SELECT string_agg(
            chr(30) || concat_ws(chr(31), change_id, tenant_id, table_name, operation, rows,
                                 coalesce(CAST(columns AS text), ''), coalesce(content, ''), coalesce(images, ''),
                                 coalesce(CAST(replaced AS text), '')),
            '' ORDER BY change_id, tenant_id COLLATE "C", table_name COLLATE "C", operation COLLATE "C"
        )
        FROM audit_entries WHERE change_id >= change * {statements} AND change_id < (change + 1) * {statements}
    );
END
$$

--;

-- A moment as the chain binds it: microseconds since 1970.
CREATE OR REPLACE FUNCTION edupulse_audit_moment(moment timestamp with time zone) RETURNS text
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CAST(CAST(extract(epoch FROM moment) * 1000000 AS bigint) AS text);
END
$$

--;

-- Whether a change, by its number, has been put on record as leaving it (`edupulse audit retire`).
CREATE OR REPLACE FUNCTION edupulse_audit_is_retired(number bigint) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_temp AS $$
DECLARE
    through constant bigint := (
        SELECT CAST(replaced ->> 'link_number' AS bigint) FROM audit_entries WHERE table_name = 'audit_changes'
        ORDER BY change_id DESC LIMIT 1
    );
BEGIN
    RETURN through IS NOT NULL
        AND (number = 0 OR EXISTS (SELECT FROM audit_changes WHERE id = number AND link_number <= through));
END
$$

--;

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
        WHEN 'audit_entries' THEN CAST(to_jsonb(OLD) ->> 'change_id' AS bigint) / {statements}
        ELSE CAST(to_jsonb(OLD) ->> 'replaced_by' AS bigint) / {statements}
    END) THEN
        RETURN OLD;
    END IF;
    RAISE insufficient_privilege USING MESSAGE = format('%s is only added to', TG_TABLE_NAME);
END
$$

--;

-- A month that is built apart: its rows have one `change_id`, whoever fills it.
CREATE OR REPLACE FUNCTION edupulse_audit_start(made text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    number constant bigint := edupulse_audit_next();
BEGIN
    EXECUTE format('ALTER TABLE %I ALTER change_id SET DEFAULT %s, ADD CONSTRAINT ck_change CHECK (change_id = %s)',
                   made, number, number);
    EXECUTE format('COMMENT ON CONSTRAINT ck_change ON %I IS %L', made, number / {statements});
END
$$

--;

-- A table that was filled apart becomes one like the others: what it is given from now on is asked of the statement.
CREATE OR REPLACE FUNCTION edupulse_audit_release(made text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I DROP CONSTRAINT IF EXISTS ck_change, ALTER change_id SET DEFAULT %s',
                   made, $default${default}$default$);
END
$$

--;

-- For who writes rows: account for a month that was built apart by the hash of the bytes that were sent for its rows, in
-- order of their ids, which spares the server making it. An error unless so many rows are there, all of one district.
CREATE OR REPLACE FUNCTION edupulse_audit_built(parent text, made text, how_many bigint, hash text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- How many audited columns a partitioned table has.
CREATE OR REPLACE FUNCTION edupulse_audit_columns(parent text) RETURNS integer
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    columns constant jsonb := '{columns}';
BEGIN
    RETURN CAST(columns ->> parent AS integer);
END
$$

--;

-- The hash of a district's rows in a table that is, or is to be, a month of a partitioned one: of those that a statement
-- wrote, or of all of them; of all of them it is made of the rows' own hashes, as there may be very many.
CREATE OR REPLACE FUNCTION edupulse_audit_content(parent text, made text, tenant text, number bigint) RETURNS text
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    bytes constant jsonb := $bytes${bytes}$bytes$;
    found text;
BEGIN
    EXECUTE format(
        $hash$SELECT encode(sha256(string_agg(CASE WHEN $2 IS NULL THEN sha256(sent) ELSE sent END, ''::bytea ORDER BY sent)), 'hex')
              FROM (SELECT %s AS sent FROM %I r WHERE tenant_id = $1 AND ($2 IS NULL OR change_id = $2)) rows$hash$,
        bytes ->> parent, made
    ) INTO found USING tenant, number;
    RETURN found;
END
$$

--;

-- Before a month is attached: account for those of its rows that this transaction has written into it and nobody has
-- accounted for yet; an error where there are more than accounted for.
CREATE OR REPLACE FUNCTION edupulse_audit_arrive(parent text, made text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    this constant bigint := nullif(current_setting('app.audit_change', true), '');
    piece record;
    known bigint;
BEGIN
    FOR piece IN EXECUTE format(
        'SELECT tenant_id, change_id, count(*) AS rows FROM %I WHERE change_id >= $1 AND change_id < $2 GROUP BY 1, 2', made
    ) USING this * {statements}, (this + 1) * {statements} LOOP
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
$$

--;

-- Put the triggers of statements on a partition: those of the whole table do not fire where a partition is named.
CREATE OR REPLACE FUNCTION edupulse_audit_guard(parent text, partition text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    triggers constant jsonb := $triggers${triggers}$triggers$;
    made text;
BEGIN
    FOR made IN SELECT jsonb_array_elements_text(triggers -> parent) LOOP
        EXECUTE replace(made, '@', quote_ident(partition));
    END LOOP;
END
$$

--;

-- For the owner: put on record that a month is taken out of a table (`detach`) or brought back (`attach`).
CREATE OR REPLACE FUNCTION edupulse_audit_moved(parent text, partition text, what text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
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
$$
