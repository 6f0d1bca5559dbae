-- Let nobody see or change the rows of a table, not even its owner, but where a policy lets them; and let the owner by a
-- policy of its own: what it checks as the owner (a foreign key, a migration's UPDATE) would otherwise see no row.
CREATE OR REPLACE FUNCTION edupulse_guard_rows(guarded text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
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
$$

--;

-- Guard a table, its partitions, and the months that are detached from it. Policies of a table do not hold where one of
-- its partitions is named, so that on these nobody but the owner has a privilege.
CREATE OR REPLACE FUNCTION edupulse_guard(parent text) RETURNS void
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
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
$$
