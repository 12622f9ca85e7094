-- How many flights are how late, in steps of a quarter of an hour.
SELECT floor(delay / 15.0)::integer * 15 AS minutes_from, count(*) AS flights,
       round(100.0 * count(*) / sum(count(*)) OVER (), 3) AS percent
FROM flights
GROUP BY floor(delay / 15.0)::integer * 15
ORDER BY minutes_from;
