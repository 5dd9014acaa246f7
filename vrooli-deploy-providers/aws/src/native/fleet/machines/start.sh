#!/bin/sh
# What a machine of a release does when it starts for the first time: it gets Docker and the app's image, starts
# a container for each service, and says in the log group how that went. What is to be started stands below.
set -u
umask 077
newline='
'
# In memory where it can be: values of secrets are in it for a moment.
work=$(mktemp -d -p /run 2>/dev/null || mktemp -d) || exit 1
plan=$work/plan lines=$work/lines
: > "$lines"
trap 'cat "$lines"; rm -rf "$work"' EXIT
sed '1,/^#-- plan$/d' "$0" > "$plan"

said() { sed -n "s/^$1 //p" "$plan"; }
region=$(said region) group=$(said group) release=$(said release) image=$(said image)
export AWS_DEFAULT_REGION="$region"

# Tries something three times: network and rights of a new machine may be a moment late.
again() {
    for pause in 1 4 0; do
        "$@" >> "$lines" 2>&1 && return 0
        sleep $pause
    done
    return 1
}

metadata() { curl -sS -f --max-time 10 "$@"; }
identify() {
    at=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}/latest
    token=$(metadata -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$at/api/token") || return 1
    machine=$(printf 'X-aws-ec2-metadata-token: %s' "$token" | metadata -H @- "$at/meta-data/instance-id")
}

# The last lines to the log group. The very last one says how it went.
tell() {
    printf '%s\n' "$1" >> "$lines"
    {
        echo '['
        LC_ALL=C tr -cd '\12\40-\176' < "$lines" | grep . | tail -n 20 | awk -v now="$(date +%s)" '{
            gsub(/[\\"]/, "\\\\&")
            printf "%s{\"timestamp\":%s%03d,\"message\":\"%s\"}\n", (NR > 1 ? "," : ""), now, NR, $0
        }'
        echo ']'
    } > "$work/events"
    stream=$release/_machine/$machine
    again aws logs create-log-stream --log-group-name "$group" --log-stream-name "$stream"
    again aws logs put-log-events --log-group-name "$group" --log-stream-name "$stream" \
        --log-events "file://$work/events"
}

failed() {
    tell "failed: $1"
    exit 1
}

login() {
    aws ecr get-login-password --region "$2" |
        docker --config "$work" login --username AWS --password-stdin "$1"
}

# A value, with the end of line that the program adds to it.
fetch() { aws secretsmanager get-secret-value --secret-id "$2" --version-id "$3" --query SecretString --output text > "$work/$1"; }

# Sets `word` to what a word of the plan says, newlines at its end too.
plain() { word=$(printf %s "$1" | base64 -d; echo x) && word=${word%x}; }

# Starts a container. Values of secrets are handed to Docker in its environment, in no argument and no file
# that stays, and are given to no other program.
begin() {
    sed -n "/^container $1\$/,/^end\$/p" "$plan" > "$work/container"
    while read -r what name arn version; do
        if [ "$what" = secret ]; then
            again fetch "value-$name" "$arn" "$version" || failed "the value of \`$name\` cannot be read"
        fi
    done < "$work/container"
    (
        docker=$(command -v docker)
        set -- "$docker" --host unix:///var/run/docker.sock --config "$work" run --detach --name "$1" \
            --network host --log-driver awslogs --log-opt "awslogs-region=$region" \
            --log-opt "awslogs-group=$group" --log-opt "awslogs-stream=$release/$1/$machine"
        while read -r what rest; do
            case $what in
                option | word) plain "$rest" && set -- "$@" "$word" ;;
                secret) set -- "$@" --env "${rest%% *}" ;;
                run) set -- "$@" "$image" ;;
            esac
        done < "$work/container"
        __work=$work __newline=$newline
        while read -r __what __name __rest; do
            [ "$__what" = secret ] || continue
            __value=$(cat "$__work/value-$__name"; echo x)
            __value=${__value%x}
            export "$__name=${__value%"$__newline"}"
        done < "$__work/container"
        exec "$@"
    ) >> "$lines" 2>&1 || failed "container \`$1\` cannot be started"
    rm -f "$work"/value-*
}

again identify || exit 1
if ! command -v docker > /dev/null; then
    again dnf install -y -q docker || failed 'Docker cannot be installed'
fi
again systemctl enable --now docker || failed 'Docker cannot be started'
registry=$(said registry)
if [ -n "$registry" ]; then
    # shellcheck disable=SC2086 # a host and a region
    again login $registry || failed 'there is no login to the registry'
fi
again docker --config "$work" pull --quiet "$image" || failed 'the image cannot be fetched'
containers=$(said container)
for container in $containers; do
    begin "$container"
done

# One that ends at once is not started again and again: why it ended is told.
sleep 2
for container in $containers; do
    state=$(docker inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$container" 2>> "$lines")
    case $state in
        running*) ;;
        *)
            docker logs --tail 15 "$container" >> "$lines" 2>&1
            failed "container \`$container\` ended with exit code ${state##* }"
            ;;
    esac
done
# shellcheck disable=SC2086 # names of services
again docker update --restart always $containers || failed 'containers cannot be kept running'
tell ready
exit 0
#-- plan
