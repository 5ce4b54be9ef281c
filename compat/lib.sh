# Sourced by every client's run.sh, which sets VERSIONS and SMOKE (arrays), defines install and run (both with the version
# as $1), and ends with: main "$@"
#
#   run.sh versions          the pinned versions
#   run.sh smoke             those of them that the short part runs
#   run.sh install VERSION   fetch it with the client's own package manager into $BUILD; a failure means "not run"
#   run.sh run VERSION       run the program against $FLOE_BOOTSTRAP; it prints one JSON object a line for each feature
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
BUILD=${FLOE_COMPAT_BUILD:-$HERE/../.build}/$(basename "$HERE")
# Codecs unpack their libraries into Java's folder for temporary files, and a JVM that is ended leaves them there.
JAVA_FLAGS=(-Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto "-Djava.io.tmpdir=${SCRATCH:-/tmp}")
VERSIONS=()
SMOKE=()

main() {
    case "${1:-}" in
    versions) printf '%s\n' "${VERSIONS[@]}" ;;
    smoke) printf '%s\n' "${SMOKE[@]}" ;;
    install | run)
        mkdir -p "$BUILD"
        "$1" "$2"
        ;;
    *) echo "usage: run.sh versions | smoke | install VERSION | run VERSION" >&2; exit 2 ;;
    esac
}

need() { # need PROGRAM…: says plainly what is missing
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
    done
}

find_python() { # find_python 3.6: prints a working interpreter of that version; find_python any: the one Floe runs on
    local candidate
    if [ "$1" = any ]; then echo "${FLOE_PYTHON:-python3}"; return; fi
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1".*/bin/python; do
        if "$candidate" -c '' 2>/dev/null; then echo "$candidate"; return; fi
    done
    echo "Python $1 is not installed" >&2
    exit 1
}

make_venv() { # make_venv FOLDER PYTHON-VERSION PACKAGE…
    local folder=$1 python packages=("${@:3}")
    [ -f "$folder/.complete" ] && return
    python=$(find_python "$2")
    rm -rf "$folder"
    "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]}" >&2
    touch "$folder/.complete"
}

maven_jars() { # maven_jars FOLDER GROUP:ARTIFACT:VERSION…: these and what they need at run time
    local folder=$1 coordinates group artifact version
    [ -f "$folder/.complete" ] && return
    need java mvn
    rm -rf "$folder"
    mkdir -p "$folder"
    {
        echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        echo '<groupId>compat</groupId><artifactId>compat</artifactId><version>1</version><dependencies>'
        for coordinates in "${@:2}"; do
            IFS=: read -r group artifact version <<<"$coordinates"
            echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId><version>$version</version></dependency>"
        done
        echo '</dependencies></project>'
    } >"$folder/pom.xml"
    mvn -q -B -f "$folder/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$folder" >&2
    touch "$folder/.complete"
}

npm_packages() { # what package.json and package-lock.json pin, into $BUILD/node_modules
    if cmp -s "$HERE/package-lock.json" "$BUILD/package-lock.json" && [ -f "$BUILD/.complete" ]; then return; fi
    rm -f "$BUILD/.complete"
    cp "$HERE/package.json" "$HERE/package-lock.json" "$BUILD/"
    (cd "$BUILD" && npm ci --silent --no-audit --no-fund) >&2
    touch "$BUILD/.complete"
}
