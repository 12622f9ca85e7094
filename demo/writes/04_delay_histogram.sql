-- DELETE of the most delayed flight
DELETE FROM flights
WHERE id = (SELECT id FROM flights ORDER BY delay DESC, id LIMIT 1);
