#!/usr/bin/env bash
# Measures what docs/benchmarks.md says, and prints its tables.
#
#   docs/benchmarks.sh [RUNS]      RUNS of each command (21), fewer of what takes long
#
# Needs cargo. With strace it counts system calls too; with terraform it measures a peer in
# the same run, in turn (some minutes more).
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C

runs=${1:-21}
long_runs=$(((runs + 2) / 3))
peer_runs=$(((runs + 6) / 7))
target=${CARGO_TARGET_DIR:-$PWD/target}
ours=$target/release/vrooli-deploy
# Not in /tmp, which may be memory: a durable write must reach a disk.
mkdir -p "$target/tmp"
work=$(mktemp -d "$target/tmp/benchmarks.XXXXXX")
export VROOLI_DEPLOY_HOME=$work/state XDG_CONFIG_HOME=$work/config
app=examples/picker-wheel

clean() {
    "$ours" destroy picker-wheel --data=picker-wheel --yes >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT

say() { printf '%s\n' "$*"; }
have() { command -v "$1" >/dev/null; }

say "building (release)" >&2
cargo build --quiet --locked --release -p vrooli-deploy-cli
cargo build --quiet --locked --release -p vrooli-deploy-tests --bin bench-plan

# --- the peer ---------------------------------------------------------------------------
peer=
if have terraform; then
    peer=terraform
    # No network, no settings of this machine's user.
    : >"$work/terraformrc"
    export TF_CLI_CONFIG_FILE=$work/terraformrc CHECKPOINT_DISABLE=1
    mkdir "$work/one"
    say 'resource "terraform_data" "one" { input = "1" }' >"$work/one/main.tf"
    terraform -chdir="$work/one" init -input=false >/dev/null
    terraform -chdir="$work/one" apply -input=false -auto-approve >/dev/null
else
    say "skipped: no terraform to measure beside" >&2
fi

# --- timing -----------------------------------------------------------------------------
# Each command is run once uncounted (unless warm=0), then all in turn, so that whatever else the machine
# does hits all of them.

# turns RUNS NAME COMMAND [NAME COMMAND]…: a row of wall and processor time for each.
turns() {
    local count=$1 at run start stop TIMEFORMAT='%U %S'
    shift
    local names=() commands=()
    while (($#)); do
        names+=("$1")
        commands+=("$2")
        shift 2
    done
    rm -f "$work"/times.*
    for ((run = 1 - ${warm:-1}; run <= count; run++)); do
        for at in "${!names[@]}"; do
            # The shell's own clock: microseconds, and no process of its own.
            start=$EPOCHREALTIME
            { time eval "${commands[at]}" </dev/null >>"$work/out" 2>&1; } 2>"$work/cpu"
            stop=$EPOCHREALTIME
            if ((run)); then
                say "$((${stop/./} - ${start/./})) $(<"$work/cpu")" >>"$work/times.$at"
            fi
        done
    done
    for at in "${!names[@]}"; do
        row "${names[at]}" "$work/times.$at"
    done
}

# row NAME FILE: lines of "wall_in_µs user_in_s system_in_s" to medians with least and most.
row() {
    local wall cpu
    wall=$(sort -n "$2" | awk '{ t[NR] = $1 / 1000 } END { printf "%.1f | %.1f to %.1f", t[int((NR + 1) / 2)], t[1], t[NR] }')
    cpu=$(awk '{ print ($2 + $3) * 1000 }' "$2" | sort -n | awk '{ t[NR] = $1 } END { printf "%.0f", t[int((NR + 1) / 2)] }')
    say "| $1 | $wall | $cpu |"
}

head_of_times() {
    say ""
    say "| $1 | wall ms, median | least to most | processor ms, median |"
    say "|---|---:|---:|---:|"
}

# count CALL COMMAND: how often a command makes a system call, with its children.
count() {
    eval "strace -f -e trace=$1 -o '$work/strace' $2" </dev/null >>"$work/out" 2>&1 || true
    grep -cE "^[0-9]+ +($(tr , '|' <<<"$1"))\(" "$work/strace" || true
}

# --- the machine ------------------------------------------------------------------------
say "Machine: $(nproc) × $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(awk '/MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo), $(uname -sr), $(stat -f -c %T "$work") file system; load $(cut -d' ' -f1 /proc/loadavg) at the start"
say "Program: $("$ours" --version), $(rustc --version | cut -d' ' -f1,2), commit $(git rev-parse --short HEAD 2>/dev/null || say unknown)"
if [[ $peer ]]; then say "Peer: $(terraform version | head -1)"; fi

# --- figures ----------------------------------------------------------------------------
head_of_times "start"
commands=("\`vrooli-deploy --version\`" "'$ours' --version" "\`/bin/true\`: what any process costs here" "/bin/true")
if [[ $peer ]]; then commands+=("\`terraform version\`" "terraform version"); fi
turns "$runs" "${commands[@]}"

say "deploying the example" >&2
"$ours" up "$app" >>"$work/out" 2>&1
head_of_times "the example, deployed and unchanged"
commands=("\`vrooli-deploy plan\`" "'$ours' plan $app" "\`vrooli-deploy deploy\`" "'$ours' deploy $app")
if [[ $peer ]]; then
    commands+=("\`terraform plan\`, one \`terraform_data\`" "terraform -chdir='$work/one' plan -input=false"
        "\`terraform apply\`, the same" "terraform -chdir='$work/one' apply -input=false -auto-approve")
fi
turns "$runs" "${commands[@]}"

head_of_times "the example, never deployed"
VROOLI_DEPLOY_HOME=$work/empty turns "$runs" "\`vrooli-deploy plan\`" "'$ours' plan $app"

if have strace; then
    say ""
    say "| counted (strace) | \`--version\` | \`plan\` | \`deploy\`, unchanged |"
    say "|---|---:|---:|---:|"
    for calls in execve fdatasync,fsync; do
        say "| \`${calls/,/\` or \`}\` | $(count $calls "'$ours' --version") | $(count $calls "'$ours' plan $app") | $(count $calls "'$ours' deploy $app") |"
    done
else
    say "skipped: counting system calls needs strace" >&2
fi

say "10,000 resources" >&2
say ""
say '```text'
"$target/release/bench-plan" 10000 "$work" "$long_runs"
say '```'

if [[ $peer ]]; then
    say "10,000 resources of the peer" >&2
    # The same graph as ours, a block a resource; and the form that costs it least, one block
    # with a count.
    mkdir "$work/blocks" "$work/counted"
    awk 'BEGIN {
        for (i = 0; i < 10000; i++) {
            first = i - i % 100; at = i % 100
            input = at == 0 ? "\"10.0.0.0/16\"" : "terraform_data.r" (at < 10 ? first : first + 1 + at % 9) ".id"
            printf "resource \"terraform_data\" \"r%d\" {\n  input = %s\n}\n", i, input
        }
    }' >"$work/blocks/main.tf"
    cat >"$work/counted/main.tf" <<'HCL'
resource "terraform_data" "many" {
  count = 10000
  input = "10.0.0.0/16 ${count.index}"
}
HCL
    for form in blocks counted; do
        terraform -chdir="$work/$form" init -input=false >/dev/null
    done
    plan="plan -input=false -lock=false -out='$work/plan'"
    # Memory first: those runs warm up the ones that are timed.
    if [[ -x /usr/bin/time ]]; then
        say ""
        for form in blocks counted; do
            eval "/usr/bin/time -f '%M' -o '$work/peak' terraform -chdir='$work/$form' $plan" >>"$work/out" 2>&1
            say "Peak memory of \`terraform plan\`, $form: $(($(tail -n 1 "$work/peak") * 1024 / 1000000)) MB."
        done
    fi
    head_of_times "first plan of 10,000, whole process"
    warm=0 turns "$peer_runs" "\`bench-plan 10000\`, one plan" "'$target/release/bench-plan' 10000 '$work' 1 --first" \
        "\`terraform plan\`, the same graph" "terraform -chdir='$work/blocks' $plan" \
        "\`terraform plan\`, one block, \`count = 10000\`" "terraform -chdir='$work/counted' $plan"
fi

# One run lasts a second or so, in which a disk that others use has one mood: several runs.
say "the journal" >&2
say ""
say '```text'
for ((round = 1; round <= long_runs; round++)); do
    cargo bench --quiet --locked -p vrooli-deploy-core --features engine --bench journal -- "$work" \
        2>>"$work/out" | tee "$work/journal" | awk '
            /^plain append/ { plain = $(NF - 4) }
            /^journal append/ { journal = $(NF - 4) }
            /fdatasync calls for/ { calls = ", " $1 " fdatasync calls for " $5 " appends" }
            END { printf "p50: plain append + fdatasync %d µs, journal append %d µs, difference %d µs%s\n", plain, journal, journal - plain, calls }'
done | tee "$work/rounds"
grep '^a plan of' "$work/journal"
awk '{ print $13 }' "$work/rounds" | sort -n | awk '{ t[NR] = $1 } END { printf "difference: median %d µs, %d to %d\n", t[int((NR + 1) / 2)], t[1], t[NR] }'
say '```'

# --- verdicts and redeploys ---------------------------------------------------------------
say "verdicts" >&2
cargo build --quiet --locked --release -p vrooli-deploy-tests --bin bench-verdict --bin bench-redeploy
say ""
"$target/release/bench-verdict" 10000

# Beside haproxy, nginx and caddy where they are installed; about two minutes a row.
say "redeploys under load" >&2
say ""
"$target/release/bench-redeploy" 20 100000 || say "requests failed in a row of ours: see standard error" >&2

packages=$(cargo tree --locked -p vrooli-deploy-cli -e normal,build --prefix none -f '{p}' | sed 's/ (.*//' | sort -u | wc -l)
say ""
say "Default build: $packages packages. Release binary: $(stat -c %s "$ours" | awk '{ printf "%.1f MB", $1 / 1e6 }')."
