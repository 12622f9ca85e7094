# shellcheck shell=bash
# The sources of the server of $PG_CONFIG; sourced after cluster.sh.

# tc_core_sources: sets TC_CORE_SOURCES to $CORE_SOURCES when that is set, else to a folder in build/check-core, which
# is filled by apt-get source: the installed version or, when the archive has only an older one of the branch, that.
tc_core_sources() {
    local major folder=$TC_ROOT/build/check-core
    TC_CORE_SOURCES=${CORE_SOURCES:-}
    if [[ -n $TC_CORE_SOURCES ]]; then return; fi
    major=$("$PG_CONFIG" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
    mkdir -p "$folder"
    if [[ -z $(tc_find_core_sources) ]]; then
        tc_fetch_core_sources >"$folder/fetch.log" 2>&1 || {
            tail -n 5 "$folder/fetch.log"
            tc_die 'the sources could not be fetched'
        }
    fi
    TC_CORE_SOURCES=$(tc_find_core_sources)
}

tc_find_core_sources() { find "$folder" -maxdepth 1 -type d -name "postgresql-$major.*" | sort -V | tail -n 1; }

tc_fetch_core_sources() {
    local lists=$folder/apt version
    mkdir -p "$lists/lists/partial" "$lists/archives/partial"
    cat >"$lists/sources.list" <<LIST
deb-src http://deb.debian.org/debian bookworm main
deb-src http://deb.debian.org/debian-security bookworm-security main
LIST
    local options=(-q -o "Dir::Etc::SourceList=$lists/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$lists/lists" -o "Dir::Cache=$lists" -o APT::Sandbox::User=root)
    apt-get "${options[@]}" update
    for version in $(apt-cache "${options[@]}" showsrc "postgresql-$major" | sed -n 's/^Version: //p' | sort -rV); do
        if (cd "$folder" && apt-get "${options[@]}" --download-only source "postgresql-$major=$version"); then
            tar -xf "$folder/postgresql-${major}_${version%%-*}.orig.tar.bz2" -C "$folder"
            return
        fi
    done
    tc_die "no sources of postgresql-$major could be had: set CORE_SOURCES"
}
