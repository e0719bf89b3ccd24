DELETE FROM jobs; INSERT INTO sessions VALUES ('s','o'); INSERT INTO schema_migrations VALUES ('2'); UPDATE email_outbox SET v='sent';
