-- UPDATE of an airport: ORD changes its state
UPDATE airports SET state = CASE state WHEN 'IL' THEN 'IN' ELSE 'IL' END WHERE iata = 'ORD';
