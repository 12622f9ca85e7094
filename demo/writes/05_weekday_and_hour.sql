-- INSERT of 1,000 flights
INSERT INTO flights (id, flown_at, delay, distance, origin, destination)
SELECT last.id + n, timestamp '2002-01-01' + n * interval '11 minutes', 5, 606, 'ATL', 'ORD'
FROM (SELECT max(id) AS id FROM flights) AS last, generate_series(1, 1000) AS n;
