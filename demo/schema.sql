-- The demo's two tables. Keys and indexes are added after the load (indexes.sql).
CREATE TABLE airports (
    iata text NOT NULL,
    name text NOT NULL,
    city text NOT NULL,
    state text NOT NULL,
    country text NOT NULL,
    latitude numeric NOT NULL,
    longitude numeric NOT NULL
);

CREATE TABLE flights (
    id bigint NOT NULL,
    flown_at timestamp NOT NULL,
    delay integer NOT NULL,     -- minutes; negative: early
    distance integer NOT NULL,  -- miles
    origin text NOT NULL,
    destination text NOT NULL
);
