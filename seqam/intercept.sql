-- For applications that call nextval() themselves: functions of the same names that go by a sequence's
-- method. A role finds them before PostgreSQL's own once they stand before pg_catalog in its path.
CREATE SCHEMA IF NOT EXISTS bdr_intercept;
REVOKE ALL ON SCHEMA bdr_intercept FROM PUBLIC;
GRANT USAGE ON SCHEMA bdr_intercept TO PUBLIC;

CREATE OR REPLACE FUNCTION bdr_intercept.nextval(s regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$ BEGIN RETURN bdr.nextval(s); END $bdr$;
CREATE OR REPLACE FUNCTION bdr_intercept.currval(s regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$ BEGIN RETURN bdr.currval(s); END $bdr$;
CREATE OR REPLACE FUNCTION bdr_intercept.lastval() RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$ BEGIN RETURN bdr.lastval(); END $bdr$;
CREATE OR REPLACE FUNCTION bdr_intercept.setval(s regclass, value bigint, is_called boolean DEFAULT true)
RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $bdr$ BEGIN RETURN bdr.setval(s, value, is_called); END $bdr$;

-- Puts these before pg_catalog in a role's path in this database, or takes them away again. It counts
-- for sessions that begin afterwards.
CREATE OR REPLACE FUNCTION bdr.intercept(role name, wanted boolean DEFAULT true) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $bdr$
DECLARE
    here   oid  := (SELECT d.oid FROM pg_database d WHERE d.datname = current_database());
    found  oid  := (SELECT r.oid FROM pg_roles r WHERE r.rolname = role);
    path   text;
    rest   text;
    statement text;
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION 'role "%" does not exist', role USING ERRCODE = 'undefined_object';
    ELSIF wanted AND (SELECT r.rolsuper FROM pg_roles r WHERE r.oid = found) THEN
        RAISE EXCEPTION 'role "%" is a superuser: what it creates would go into schema bdr_intercept', role
            USING HINT = 'Choose the role that the application logs in as.';
    END IF;
    -- What counts now: the role's in this database, the role's, the database's, the server's.
    SELECT substring(c.setting FROM '^search_path=(.*)$') INTO path
      FROM pg_db_role_setting s, unnest(s.setconfig) AS c (setting)
     WHERE c.setting LIKE 'search_path=%' AND (s.setrole, s.setdatabase) IN ((found, here), (found, 0), (0, here))
     ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1;
    -- Not what this very session was started with.
    path := COALESCE(path, (SELECT f.setting FROM pg_file_settings f WHERE f.name = 'search_path' AND f.applied
                             ORDER BY f.seqno DESC LIMIT 1),
                     (SELECT g.boot_val FROM pg_settings g WHERE g.name = 'search_path'));
    rest := regexp_replace(path, '^bdr_intercept, pg_catalog(, )?', '');
    IF wanted THEN
        path := 'bdr_intercept, pg_catalog' || CASE rest WHEN '' THEN '' ELSE ', ' || rest END;
    ELSE
        path := rest;
    END IF;
    -- As a value, never as text of a statement: whoever owns the role may have put anything into it.
    statement := format('ALTER ROLE %I IN DATABASE %I SET search_path FROM CURRENT', role, current_database());
    PERFORM set_config('search_path', path, true);
    EXECUTE statement;
    RETURN path;
END $bdr$;
REVOKE ALL ON FUNCTION bdr.intercept(name, boolean) FROM PUBLIC;
