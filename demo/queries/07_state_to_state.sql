-- Traffic between states, both ends joined with the airports.
SELECT o.state AS from_state, d.state AS to_state, count(*) AS flights, sum(f.distance) AS miles,
       round(avg(f.delay), 2) AS mean_delay, round(100.0 * count(*) FILTER (WHERE f.delay > 15) / count(*), 2) AS percent_late
FROM flights f
JOIN airports o ON o.iata = f.origin
JOIN airports d ON d.iata = f.destination
GROUP BY o.state, d.state
ORDER BY flights DESC, from_state, to_state
LIMIT 50;
