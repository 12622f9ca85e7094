-- The 25 busiest routes, with the airports' names.
SELECT r.origin, o.name AS origin_name, r.destination, d.name AS destination_name,
       r.flights, r.miles, r.mean_delay
FROM (
    SELECT origin, destination, count(*) AS flights, sum(distance) AS miles, round(avg(delay), 2) AS mean_delay
    FROM flights
    GROUP BY origin, destination
) AS r
JOIN airports o ON o.iata = r.origin
JOIN airports d ON d.iata = r.destination
ORDER BY r.flights DESC, r.origin, r.destination
LIMIT 25;
