INSERT INTO jobs VALUES (1,'b'); INSERT INTO email_outbox VALUES (1,'b');
