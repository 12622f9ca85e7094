-- The heat map: delays by weekday (1 is Monday) and hour of departure.
SELECT extract(isodow FROM flown_at)::integer AS weekday, extract(hour FROM flown_at)::integer AS hour,
       count(*) AS flights, round(avg(delay), 2) AS mean_delay, max(delay) AS worst_delay
FROM flights
GROUP BY 1, 2
ORDER BY 1, 2;
