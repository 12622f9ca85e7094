-- Flights and delays of each day of a year, with the mean over the seven days up to it.
SELECT day, flights, mean_delay, late,
       round(avg(flights) OVER seven_days, 1) AS flights_7_days,
       round(avg(mean_delay) OVER seven_days, 2) AS mean_delay_7_days
FROM (
    SELECT flown_at::date AS day, count(*) AS flights, round(avg(delay), 2) AS mean_delay,
           count(*) FILTER (WHERE delay > 15) AS late
    FROM flights
    WHERE flown_at >= '2001-01-01' AND flown_at < '2002-01-01'
    GROUP BY flown_at::date
) AS days
WINDOW seven_days AS (ORDER BY day ROWS 6 PRECEDING)
ORDER BY day;
