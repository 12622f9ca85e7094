#!/usr/bin/env bash
# Makes flights.csv.gz and airports.csv.gz beside this script from the npm package vega-datasets.
# Needs npm, python3 and the network; the results are committed, so nobody needs to run it.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm pack --silent vega-datasets@3.2.1 >/dev/null
tar -xzf vega-datasets-3.2.1.tgz package/data/flights-20k.json package/data/airports.csv

python3 - <<'PYTHON'
import csv
import json

flights = json.load(open("package/data/flights-20k.json"))
with open("flights.csv", "w", newline="") as out:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["flown_at", "delay", "distance", "origin", "destination"])
    for flight in flights:
        flown_at = flight["date"].replace("/", "-")
        writer.writerow([flown_at, flight["delay"], flight["distance"], flight["origin"], flight["destination"]])

airports = list(csv.DictReader(open("package/data/airports.csv", newline="")))
with open("airports.csv", "w", newline="") as out:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["iata", "name", "city", "state", "country", "latitude", "longitude"])
    for airport in airports:
        writer.writerow([airport[column] for column in
                         ("iata", "name", "city", "state", "country", "latitude", "longitude")])
PYTHON

for table in flights airports; do
    gzip -9nc "$table.csv" >"$here/$table.csv.gz"
done
