-- Months by distance band, with subtotals: the pivot table of the report.
SELECT month, band, count(*) AS flights, sum(distance) AS miles, round(avg(delay), 2) AS mean_delay,
       round(stddev_samp(delay), 2) AS delay_deviation
FROM (
    SELECT extract(year FROM flown_at)::integer * 100 + extract(month FROM flown_at)::integer AS month,
           CASE WHEN distance < 250 THEN '1 short' WHEN distance < 1000 THEN '2 medium' ELSE '3 long' END AS band,
           distance, delay
    FROM flights
) AS f
GROUP BY ROLLUP (month, band)
ORDER BY month NULLS LAST, band NULLS LAST;
