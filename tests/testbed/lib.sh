# shellcheck shell=bash
# What every script of the test bed shares: where things lie, how to speak, how to wait, and what must be there.
# Sourced, never run.
# shellcheck disable=SC2034 # its variables are used where it is sourced

# Everything the bed keeps lies outside the checkout, so that a fresh clone starts from a warm cache.
cache=${BOWSPRIT_CACHE:-$HOME/.cache/bowsprit}
testbed_dir=$(realpath -m "$cache/testbed")
bin=$testbed_dir/bin        # the programs of the cluster
base_images=$testbed_dir/images
run=$testbed_dir/run        # the state of the bed that is up, removed by `down`
logs=$testbed_dir/logs      # kept after `down`, so that a failure can still be read
kubeconfig=$run/pki/admin.kubeconfig

# One network inside the bed's own network namespace: pods and the node share a bridge, services have a range of their own.
node_name=node1
node_ip=10.88.0.1
pod_cidr=10.88.0.0/24
service_cidr=10.96.0.0/16
api_port=6443

started=${EPOCHREALTIME/[.,]/}

# say TEXT: one line of progress with the seconds since this script began. Plain lines, so that a pipe or a CI log stays readable.
say() {
  local us=$((${EPOCHREALTIME/[.,]/} - started))
  printf '%5d.%ds  %s\n' $((us / 1000000)) $((us / 100000 % 10)) "$*"
}

warn() { printf 'testbed: %s\n' "$*" >&2; }

die() {
  warn "$@"
  exit 1
}

# shellcheck source=needs.sh
. "$(dirname "$(realpath "${BASH_SOURCE[0]}")")/needs.sh"

# need TARGET: ends with what to do where something is missing that `make TARGET` needs. Installs nothing.
need() { "$needs_dir/install" --check "$1" || exit 1; }

need_root() {
  [ "$(id -u)" = 0 ] || die "$1 makes namespaces, mounts and cgroups and must run as root: try 'sudo -E $0 ${2:-}'"
}

# wait_until SECONDS WHAT LOG COMMAND...: polls COMMAND until it succeeds. At the deadline, or as soon as the process $watched_pid
# (when set) has ended, says what was waited for, shows the end of LOG and returns 1.
wait_until() {
  local seconds=$1 what=$2 log=$3 deadline=$((SECONDS + $1)) why
  shift 3
  until "$@" >/dev/null 2>&1; do
    if [ -n "${watched_pid:-}" ] && ! kill -0 "$watched_pid" 2>/dev/null; then
      why="its process has ended"
    elif ((SECONDS >= deadline)); then
      why="waited $seconds s"
    else
      sleep 0.1
      continue
    fi
    warn "not so: $what ($why)"
    if [ -s "$log" ]; then
      warn "the end of $log:"
      tail -n 15 "$log" | cut -c1-400 | sed 's/^/    /' >&2
    else
      warn "its log is $log (empty)"
    fi
    return 1
  done
}

# The folders that the node's programs write to on any machine.
private_folders="/run/netns /run/containerd /var/log/pods /var/log/containers /var/lib/cni /var/lib/kubelet"
