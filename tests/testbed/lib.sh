# shellcheck shell=bash
# What every script of the test bed shares: where things lie, how to speak, how to wait, and which package gives which program.
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

# PROGRAM PACKAGE: what the bed and the images need of Debian. `install` installs from this table, `need` quotes it.
debian_programs='
containerd containerd
ctr containerd
runc runc
iptables iptables
nft nftables
conntrack conntrack
ip iproute2
sysctl procps
mount mount
unshare util-linux
nsenter util-linux
setpriv util-linux
setsid util-linux
flock util-linux
openssl openssl
curl curl
promtool prometheus
faketime faketime
gcc gcc
python3 python3
npm npm
dpkg dpkg
'
# FILE PACKAGE: the same for what is not found on PATH.
debian_files='
/usr/lib/cni/bridge containernetworking-plugins
/bin/busybox busybox-static
/usr/include/stdlib.h libc6-dev
/etc/ssl/certs/ca-certificates.crt ca-certificates
'

# missing_packages: the Debian packages this machine lacks, one a line.
missing_packages() {
  local what package
  while read -r what package; do
    [ -z "$what" ] || command -v "$what" >/dev/null || echo "$package"
  done <<<"$debian_programs" | sort -u
  while read -r what package; do
    [ -z "$what" ] || [ -e "$what" ] || echo "$package"
  done <<<"$debian_files" | sort -u
}

# need PROGRAM...: ends with the package's name where a program is missing.
need() {
  local program package
  for program in "$@"; do
    command -v "$program" >/dev/null && continue
    package=$(awk -v p="$program" '$1 == p { print $2 }' <<<"$debian_programs")
    die "$program is not installed: run 'tests/testbed/install' (Debian package ${package:-unknown})"
  done
}

need_all_packages() {
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  [ -z "$missing" ] || die "these Debian packages are missing: ${missing% } - run 'tests/testbed/install' as root, or 'apt-get install ${missing% }'"
}

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
