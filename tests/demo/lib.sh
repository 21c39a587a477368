# shellcheck shell=bash
# What the demo's scripts share: how they speak, how they wait, and what they show when a wait ends without its condition.
# Sourced, never run.
# shellcheck disable=SC2034,SC2154 # its variables are used where it is sourced, and `here` is set there

root=$(realpath "$here/../..")
bed=$root/tests/testbed/bed
system=bowsprit-system # where the operator lives

bold='' dim='' red='' off=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' off=$'\e[0m'; fi

own_cluster() { [ "${BOWSPRIT_USE_CLUSTER:-}" = 1 ]; }
kubectl() { "$bed" exec kubectl "$@"; }
helm() { "$bed" exec helm "$@"; }
indented() { sed -u 's/^/     /'; }

# step TITLE: the next part of the story.
step() {
  step_number=$((${step_number:-0} + 1))
  printf '\n%s%2d.  %s%s\n' "$bold" "$step_number" "$*" "$off"
}
note() { printf '     %s\n' "$*"; }
# shown COMMAND...: says the command as people would type it in the bed, runs it, and shows what it says.
shown() {
  printf '     %s$ %s%s\n' "$dim" "$*" "$off"
  "$@" 2>&1 | indented
}

# wait_for SECONDS WHAT COMMAND...: polls COMMAND until it succeeds; at the deadline says what was waited for, and why it may be.
wait_for() {
  local seconds=$1 what=$2 deadline=$((SECONDS + $1))
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || give_up "waited $seconds s, and still not so: $what"
    sleep 0.3
  done
}

# The namespaces that give_up looks into.
suspects=("$system")

give_up() {
  local namespace
  {
    printf '\n%s%s%s\n' "$red" "$*" "$off"
    for namespace in "${suspects[@]}"; do explain "$namespace"; done
    echo
    echo "The cluster is left as it is. Look around with 'tests/testbed/bed exec kubectl ...'; remove all with 'make demo-down'."
  } >&2
  exit 1
}

# explain NAMESPACE: its pods, its last events and the end of each container's log.
explain() {
  local pod
  echo "--- namespace $1: pods, last events, logs"
  kubectl -n "$1" get pods -o wide 2>&1 | indented
  kubectl -n "$1" get events --sort-by .lastTimestamp 2>&1 | tail -n 15 | cut -c1-220 | indented
  for pod in $(kubectl -n "$1" get pods -o name 2>/dev/null); do
    echo "--- the end of the log of $pod"
    kubectl -n "$1" logs "$pod" --all-containers --prefix --tail 8 2>&1 | cut -c1-300 | indented
  done
}
