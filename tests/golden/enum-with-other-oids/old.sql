ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok'; UPDATE m SET a='ok' WHERE id=1;
