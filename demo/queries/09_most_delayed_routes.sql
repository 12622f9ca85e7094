-- The ten worst routes of each quarter of 2001 among those with enough flights.
SELECT quarter, place, origin, destination, flights, mean_delay
FROM (
    SELECT extract(quarter FROM flown_at)::integer AS quarter, origin, destination, count(*) AS flights,
           round(avg(delay), 2) AS mean_delay,
           row_number() OVER (PARTITION BY extract(quarter FROM flown_at)::integer
                              ORDER BY avg(delay) DESC, origin, destination) AS place
    FROM flights
    WHERE flown_at >= '2001-01-01' AND flown_at < '2002-01-01'
    GROUP BY extract(quarter FROM flown_at)::integer, origin, destination
    HAVING count(*) >= 10
) AS ranked
WHERE place <= 10
ORDER BY quarter, place;
