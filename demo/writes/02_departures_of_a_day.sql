-- UPDATE of the airports on that day's board: new names
UPDATE airports SET name = name || ' Intl'
WHERE iata IN (
    SELECT destination FROM flights
    WHERE origin = 'ORD' AND flown_at >= '2001-02-14' AND flown_at < '2001-02-15'
);
