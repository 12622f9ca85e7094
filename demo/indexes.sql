ALTER TABLE airports ADD PRIMARY KEY (iata);
ALTER TABLE flights ADD PRIMARY KEY (id);
ALTER TABLE flights ADD FOREIGN KEY (origin) REFERENCES airports (iata);
ALTER TABLE flights ADD FOREIGN KEY (destination) REFERENCES airports (iata);
CREATE INDEX flights_flown_at ON flights (flown_at);
CREATE INDEX flights_origin_flown_at ON flights (origin, flown_at);
VACUUM (ANALYZE) airports, flights;
