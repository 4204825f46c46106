-- UUIDs of version 7 (RFC 9562), for PostgreSQL before 18, which has uuidv7(): milliseconds since 1970
-- in 48 bits, 12 bits that count on within a millisecond, 62 random bits.
--
-- Time and count are those of a snowflake sequence of the database's own, as of node 0, which no node
-- is: so they rise on a node and never come twice there, whatever its clock shows (snowflake.sql says
-- why), and the random bits tell nodes apart.
CREATE SEQUENCE IF NOT EXISTS bdr.uuid_v7_ordinals AS bigint MINVALUE -8646911284551352320
    MAXVALUE -8646840915807174657 START -8646911284551352320 NO CYCLE;
CREATE SEQUENCE IF NOT EXISTS bdr.uuid_v7 AS bigint MINVALUE 0 NO CYCLE;
CREATE SEQUENCE IF NOT EXISTS bdr.uuid_v7_began AS bigint MINVALUE 0 NO CYCLE;
CREATE SEQUENCE IF NOT EXISTS bdr.uuid_v7_relation AS bigint MINVALUE 0 NO CYCLE;
SELECT setval('bdr.uuid_v7_relation', 'bdr.uuid_v7_ordinals'::regclass::oid::bigint);
INSERT INTO bdr.sequence_lock VALUES ('bdr.uuid_v7') ON CONFLICT DO NOTHING;
GRANT USAGE, SELECT ON SEQUENCE bdr.uuid_v7_ordinals TO PUBLIC;
GRANT SELECT ON SEQUENCE bdr.uuid_v7, bdr.uuid_v7_began, bdr.uuid_v7_relation TO PUBLIC;

CREATE OR REPLACE FUNCTION bdr.uuid_v7() RETURNS uuid
LANGUAGE plpgsql VOLATILE AS $bdr$
DECLARE
    id bigint := bdr.nextval('bdr.uuid_v7_ordinals'::regclass, 'bdr.uuid_v7'::regclass);
BEGIN
    -- What follows the third hyphen of a random UUID is what it must be here, too.
    RETURN pg_catalog.lpad(pg_catalog.to_hex((id >> 22) + 1704067200000), 12, '0')
           || '7' || pg_catalog.lpad(pg_catalog.to_hex(id & 4095), 3, '0')
           || pg_catalog.substr(pg_catalog.gen_random_uuid()::text, 20);
END $bdr$;

-- To the millisecond.
CREATE OR REPLACE FUNCTION bdr.uuid_v7_time(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE STRICT SET search_path = pg_catalog, pg_temp AS $bdr$
    SELECT to_timestamp(('x' || translate(left(id::text, 13), '-', ''))::bit(48)::bigint / 1000.0)
$bdr$;
