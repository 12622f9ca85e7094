# shellcheck shell=bash
# Sourced by scripts that work in a bare Debian made by debootstrap, as root.

# in_namespaces TEMPLATE PREPARE [ARG...]: runs the calling script again, with ARGs, in mount and process namespaces of its
# own, and exits as that does: whatever way it ends, no mount, process or folder stays. PREPARE FOLDER is called before,
# to fill a new folder (TEMPLATE is mktemp's). In there it returns, and $work is that folder.
in_namespaces() {
    local template=$1 prepare=$2
    shift 2
    work=${TIERCACHE_NAMESPACE:-}
    if [[ -n $work ]]; then return; fi
    ((EUID == 0)) || die 'needs root, to make a chroot'
    command -v debootstrap >/dev/null || die 'debootstrap is missing: apt-get install debootstrap'
    work=$(mktemp -d "$template")
    child=
    trap leave_namespaces EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    "$prepare" "$work"
    TIERCACHE_NAMESPACE=$work unshare --mount --pid --fork --kill-child --propagation private "$0" "$@" &
    child=$!
    wait "$child" # in the background, so that a trap runs at once
    exit
}

# shellcheck disable=SC2317
leave_namespaces() {
    trap '' INT TERM HUP
    if [[ -n $child ]]; then
        kill -KILL "$child" 2>/dev/null || : # it blocks TERM; --kill-child takes the whole namespace with it
        wait "$child" 2>/dev/null || :
    fi
    rm -rf --one-file-system "$work"
}
