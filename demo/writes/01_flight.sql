-- UPDATE of one flight: a minute more delay
UPDATE flights SET delay = delay + 1 WHERE id = 12345;
