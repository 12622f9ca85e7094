-- UPDATE of a month of flights: half an hour more delay
UPDATE flights SET delay = delay + 30 WHERE flown_at >= '2001-01-01' AND flown_at < '2001-02-01';
