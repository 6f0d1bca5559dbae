-- The column whose months a table is partitioned by. An error for a table that the declaration does not partition.
CREATE OR REPLACE FUNCTION edupulse_month_column(parent text) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = {schema}, pg_temp AS $$
DECLARE
    partitioned constant jsonb := '{partitioned}';
BEGIN
    IF (partitioned ? parent) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s is not partitioned by month', parent);
    END IF;
    RETURN partitioned ->> parent;
END
$$

--;

-- The table that holds a month, named by its first day. An error for any other day.
CREATE OR REPLACE FUNCTION edupulse_month_name(parent text, month date) RETURNS text
LANGUAGE plpgsql IMMUTABLE SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_column(parent);
    IF (month BETWEEN '0001-01-01' AND '9999-12-01' AND extract(day FROM month) = 1) IS NOT TRUE THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s is not the first day of a month', month);
    END IF;
    RETURN parent || to_char(month, '"_y"YYYY"m"MM');
END
$$

--;

-- The condition that the rows of a month fulfil.
CREATE OR REPLACE FUNCTION edupulse_month_bounds(parent text, month date) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = {schema}, pg_temp AS $$
    SELECT format('%1$I >= DATE %2$L AND %1$I < DATE %3$L',
                  edupulse_month_column(parent), month, CAST(month + interval '1 month' AS date))
$$

--;

-- The partition that is attached for a month, whatever its name; NULL when there is none.
CREATE OR REPLACE FUNCTION edupulse_month_partition(parent text, month date) RETURNS text
LANGUAGE sql SET search_path = {schema}, pg_temp AS $$
    SELECT c.relname
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = to_regclass(quote_ident(parent))
      AND starts_with(pg_get_expr(c.relpartbound, c.oid), format('FOR VALUES FROM (%L) TO ', month))
$$

--;

-- The columns of a table, in their order, as a list for a statement.
CREATE OR REPLACE FUNCTION edupulse_month_columns(parent text) RETURNS text
LANGUAGE sql SET search_path = {schema}, pg_temp AS $$
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
    FROM pg_attribute
    WHERE attrelid = to_regclass(quote_ident(parent)) AND attnum > 0 AND NOT attisdropped
$$

--;

-- Take every lock that attaching a month needs; also those for taking the partitions `taken` away. `referred_mode` is
-- how the tables are locked that rows refer to.
CREATE OR REPLACE FUNCTION edupulse_month_locks(parent text, taken text[], referred_mode text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- A table with the columns and checks of `parent`, without its indexes, keys and partitions.
CREATE OR REPLACE FUNCTION edupulse_month_table(parent text, made text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_column(parent);
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)', made, parent);
END
$$

--;

-- Let a table hold rows of the month only; ATTACH then need not read it to know that.
CREATE OR REPLACE FUNCTION edupulse_month_bound(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT ck_month CHECK (%s)', made, edupulse_month_bounds(parent, month));
END
$$

--;

-- Give a table all that takes long and needs nobody's lock: bounds, key and indexes. Sorting gets more memory.
CREATE OR REPLACE FUNCTION edupulse_month_finish(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp SET maintenance_work_mem = '256MB' AS $$
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
$$

--;

-- Give a table its name, and its indexes names that go with it where these are free.
CREATE OR REPLACE FUNCTION edupulse_month_rename(made text, final text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- Move the month's rows out of the default partition, which otherwise forbids attaching it; how many.
CREATE OR REPLACE FUNCTION edupulse_month_take(parent text, made text, month date) RETURNS bigint
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- Make a finished table a partition, under the locks of `edupulse_month_locks`. Without a foreign key of its own: ATTACH
-- makes it and looks every row up. To adopt one that is there, it would want the other table to itself, and loads read
-- `students` from beginning to end. From then on it is guarded like every partition: rows are read and written through
-- the parent, and nobody but the owner has a privilege here.
CREATE OR REPLACE FUNCTION edupulse_month_attach(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp SET maintenance_work_mem = '256MB' AS $$
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
$$

--;

-- The role that called a function that works as the tables' owner; an error unless it may write into the table.
CREATE OR REPLACE FUNCTION edupulse_month_writer(parent text) RETURNS name
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    caller constant name := coalesce(nullif(current_setting('role'), 'none'), session_user);
BEGIN
    PERFORM edupulse_month_column(parent);
    IF NOT has_table_privilege(caller, quote_ident(parent), 'INSERT') THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s may not write into %s', caller, parent);
    END IF;
    RETURN caller;
END
$$

--;

-- The district that the transaction is for. An error without one: what a load brings belongs to somebody.
CREATE OR REPLACE FUNCTION edupulse_month_tenant() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = {schema}, pg_temp AS $$
DECLARE
    tenant constant text := nullif(current_setting('app.tenant', true), '');
BEGIN
    IF tenant IS NULL THEN
        RAISE insufficient_privilege USING MESSAGE = 'app.tenant is not set: the load is of no district';
    END IF;
    RETURN tenant;
END
$$

--;

-- An error unless the table is one that `edupulse_month_start` has made for `parent`.
CREATE OR REPLACE FUNCTION edupulse_month_demand_started(parent text, made text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
BEGIN
    IF (made ~ ('^' || parent || '_load_[0-9a-f]{8}$')) IS NOT TRUE OR NOT EXISTS (
        SELECT FROM pg_class
        WHERE oid = to_regclass(quote_ident(made)) AND relkind = 'r' AND NOT relispartition
          AND pg_get_userbyid(relowner) = current_user
    ) THEN
        RAISE invalid_parameter_value USING MESSAGE = format('%s is not a month of %s being built', made, parent);
    END IF;
END
$$

--;

-- An error unless `edupulse_month_end` has closed the table for this month and the transaction's district: it then has a
-- constraint that says so of every row, and nobody but the owner can write into it.
CREATE OR REPLACE FUNCTION edupulse_month_demand_ended(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- For who writes rows: make a month, with its rows from the default partition; how many. NULL when its table is there.
CREATE OR REPLACE FUNCTION edupulse_month_make(parent text, month date) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- For who writes rows: a table to build a month in, which only the caller may fill; its name.
CREATE OR REPLACE FUNCTION edupulse_month_start(parent text) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- For who writes rows: close a table that has been filled to everybody, check that it holds rows of the month and of the
-- transaction's district only, and index it.
CREATE OR REPLACE FUNCTION edupulse_month_end(parent text, made text, month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- For who writes rows: how many rows the default partition holds by month, of every district or of the transaction's.
CREATE OR REPLACE FUNCTION edupulse_month_unclaimed(parent text, own boolean) RETURNS TABLE (month text, rows bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_writer(parent);
    RETURN QUERY EXECUTE format(
        'SELECT to_char(%1$I, CASE WHEN %1$I < DATE ''0001-01-01'' THEN ''YYYY-MM BC'' ELSE ''YYYY-MM'' END), count(*)'
        ' FROM %2$I WHERE NOT $1 OR tenant_id = $2 GROUP BY 1 ORDER BY 1',
        edupulse_month_column(parent), parent || '_default'
    ) USING own, nullif(current_setting('app.tenant', true), '');
END
$$

--;

-- For who writes rows: keep months from being attached until the transaction ends.
CREATE OR REPLACE FUNCTION edupulse_month_hold_default(parent text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM edupulse_month_writer(parent);
    EXECUTE format('LOCK TABLE ONLY %I IN ROW EXCLUSIVE MODE', parent || '_default');
END
$$

--;

-- For who writes rows: make tables (of `edupulse_month_end`) the partitions of their months. `replaceable` are the
-- months whose empty partition may go; a month that has rows gets these as well.
CREATE OR REPLACE FUNCTION edupulse_month_place(parent text, made text[], months date[], replaceable date[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
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
$$
