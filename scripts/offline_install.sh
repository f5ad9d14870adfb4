#!/usr/bin/env bash
# Installs from this folder alone what the Python of this machine lacks: bash install.sh [FOLDER]
# Without FOLDER into the environment of python3, or of the interpreter in the variable PYTHON. With FOLDER beside it,
# for an environment that cannot be written to: FOLDER then goes into PYTHONPATH.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PYTHON:-python3}
into=()
if [[ -n ${1:-} ]]; then
    mkdir -p "$1"
    folder=$(cd "$1" && pwd)
    # The environment's variable, not only pip's option: what an earlier call put there counts as installed.
    export PYTHONPATH=$folder${PYTHONPATH:+:$PYTHONPATH}
    into=(--target "$folder")
    # pip replaces the whole `bin` of a target; the commands that earlier calls put there are put back below.
    commands=$(mktemp -d)
    trap 'rm -rf "$commands"' EXIT
    [[ ! -d $folder/bin ]] || cp -a "$folder/bin/." "$commands"
fi
wheels=$("$python" "$here/check.py" --missing)
cd "$here"
# shellcheck disable=SC2086 # names of wheels hold no spaces
"$python" -m pip install --no-index --no-deps --upgrade --force-reinstall ${into[@]+"${into[@]}"} $wheels || {
    echo "pip could not install: see above. Where the environment cannot be written to, name a folder:" \
        "bash install.sh FOLDER" >&2
    exit 1
}
[[ -z ${1:-} ]] || for command in "$commands"/*; do
    [[ ! -e $command || -e $folder/bin/${command##*/} ]] || cp -a "$command" "$folder/bin"
done
"$python" -W ignore check.py
