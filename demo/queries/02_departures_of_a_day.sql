-- The departure board of one airport on one day.
SELECT f.flown_at, f.id, f.destination, a.name, a.city, a.state, f.delay
FROM flights f
JOIN airports a ON a.iata = f.destination
WHERE f.origin = 'ORD' AND f.flown_at >= '2001-02-14' AND f.flown_at < '2001-02-15'
ORDER BY f.flown_at, f.id;
