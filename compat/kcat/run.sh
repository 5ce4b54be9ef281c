#!/usr/bin/env bash
source "$(dirname "$0")/../lib.sh"
VERSIONS=(1.7.1)

# Debian's package and its libraries, unpacked below $BUILD: nothing is installed on the machine.
install() {
    [ -f "$BUILD/.complete" ] && return
    need apt-get dpkg python3
    local wanted=(kcat librdkafka1 libyajl2)
    (cd "$BUILD" && apt-get download --quiet "${wanted[@]}" >&2)
    for package in "$BUILD"/*.deb; do dpkg -x "$package" "$BUILD/root"; done
    touch "$BUILD/.complete"
}

run() {
    LD_LIBRARY_PATH=$(dirname "$(find "$BUILD/root" -name 'librdkafka.so.1')") \
        KCAT="$BUILD/root/usr/bin/kcat" PYTHONPATH="$HERE/.." python3 "$HERE/program.py"
}

main "$@"
