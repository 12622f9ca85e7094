-- Both tables in one transaction, a part of it rolled back
BEGIN;
UPDATE airports SET city = 'Chicago, IL' WHERE iata = 'ORD';
DELETE FROM flights WHERE id = (SELECT max(id) FROM flights);
SAVEPOINT regret;
DELETE FROM flights WHERE delay < 0;
ROLLBACK TO SAVEPOINT regret;
COMMIT;
