"""What PostgreSQL itself saw: each node of the rig has a role of its own, and triggers write down who wrote what."""

# Members of the owner: what is the hub's is theirs, too, also while they are no superusers.
ROLES = "DO $$ BEGIN CREATE ROLE {role} SUPERUSER LOGIN IN ROLE hub; EXCEPTION WHEN duplicate_object THEN NULL; END $$"

TRIGGERS = """
CREATE SCHEMA IF NOT EXISTS rig;
CREATE TABLE IF NOT EXISTS rig.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text NOT NULL, session uuid, seq bigint,
    run uuid NOT NULL, epoch bigint NOT NULL, writer text NOT NULL);
CREATE OR REPLACE FUNCTION rig.granted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO rig.audit (type, session, run, epoch, writer)
    VALUES ('grant', NEW.session_id, NEW.id, NEW.lease_epoch, session_user);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION rig.logged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO rig.audit (type, session, seq, run, epoch, writer)
    SELECT NEW.type, NEW.session_id, NEW.seq, r.id, r.lease_epoch, session_user FROM public.runs r
    WHERE r.id = NEW.run_id;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION rig.counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO rig.audit (type, session, run, epoch, writer)
    SELECT 'effect', r.session_id, r.id, r.lease_epoch, session_user
    FROM public.tool_calls c JOIN public.runs r ON r.id = c.run_id
    WHERE strpos(c.arguments, '"' || NEW.key || '"') > 0 AND r.status IN ('running', 'waiting', 'paused');
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS rig_counted ON public.counters;
DROP TRIGGER IF EXISTS rig_granted ON public.runs;
DROP TRIGGER IF EXISTS rig_logged ON public.events;
CREATE TRIGGER rig_granted AFTER UPDATE OF lease_epoch ON public.runs FOR EACH ROW EXECUTE FUNCTION rig.granted();
CREATE TRIGGER rig_counted AFTER INSERT OR UPDATE ON public.counters FOR EACH ROW EXECUTE FUNCTION rig.counted();
CREATE TRIGGER rig_logged AFTER INSERT ON public.events FOR EACH ROW WHEN (NEW.run_id IS NOT NULL)
    EXECUTE FUNCTION rig.logged();
"""

READ = "SELECT type, session::text, seq, run::text, epoch, writer FROM rig.audit ORDER BY id"
