#!/bin/sh
# Prints the pg_config of the newest installed server whose headers are there; else the one in PATH, if any.
for pg_config in $(printf '%s\n' /usr/lib/postgresql/*/bin/pg_config | sort -t/ -k5,5nr); do
    if [ -e "$("$pg_config" --includedir-server 2>/dev/null)/postgres.h" ]; then
        echo "$pg_config"
        exit 0
    fi
done
command -v pg_config || :
