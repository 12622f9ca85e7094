-- INSERT of one flight
INSERT INTO flights (id, flown_at, delay, distance, origin, destination)
SELECT max(id) + 1, '2001-07-04 12:00', 90, 606, 'ORD', 'ATL' FROM flights;
