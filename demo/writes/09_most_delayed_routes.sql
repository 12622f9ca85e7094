-- DELETE of a whole day
DELETE FROM flights
WHERE flown_at >= (SELECT min(flown_at)::date FROM flights)
  AND flown_at < (SELECT min(flown_at)::date + 1 FROM flights);
