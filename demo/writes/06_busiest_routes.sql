-- DELETE and INSERT in one transaction: a flight moves
BEGIN;
INSERT INTO flights (id, flown_at, delay, distance, origin, destination)
SELECT last.id + 1, f.flown_at, f.delay, f.distance, f.destination, f.origin
FROM flights f, (SELECT max(id) AS id FROM flights) AS last
WHERE (f.origin, f.destination) = (
    SELECT origin, destination FROM flights GROUP BY 1, 2 ORDER BY count(*) DESC, 1, 2 LIMIT 1
)
ORDER BY f.id LIMIT 1;
DELETE FROM flights
WHERE id = (
    SELECT f.id FROM flights f
    WHERE (f.origin, f.destination) = (
        SELECT origin, destination FROM flights GROUP BY 1, 2 ORDER BY count(*) DESC, 1, 2 LIMIT 1
    )
    ORDER BY f.id LIMIT 1
);
COMMIT;
