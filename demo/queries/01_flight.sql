-- One flight by its key.
SELECT f.id, f.flown_at, f.delay, f.distance, f.origin, f.destination
FROM flights f
WHERE f.id = 12345;
