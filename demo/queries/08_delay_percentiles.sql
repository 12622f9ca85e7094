-- Delay percentiles of the 20 largest airports.
SELECT f.origin, a.city, count(*) AS flights,
       round(percentile_cont(0.5) WITHIN GROUP (ORDER BY f.delay)::numeric, 2) AS median,
       round(percentile_cont(0.9) WITHIN GROUP (ORDER BY f.delay)::numeric, 2) AS p90,
       round(percentile_cont(0.99) WITHIN GROUP (ORDER BY f.delay)::numeric, 2) AS p99
FROM flights f
JOIN airports a ON a.iata = f.origin
GROUP BY f.origin, a.city
ORDER BY flights DESC, f.origin
LIMIT 20;
