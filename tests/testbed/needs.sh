# shellcheck shell=bash
# What the project's commands need of a machine: which program, from which Debian package, for which `make` target. The only place
# that says it; tests/testbed/check-needs holds it against the scripts. Sourced by lib.sh.

# PART PACKAGE PROGRAM...: a name on PATH, the /path of a file, or python:MODULE. The package `-` stands for what Debian 12 does not
# have; `remedy` says where to get it, and which release.
needs='
base       bash                       bash sh
base       coreutils                  basename cat chmod chown chroot cp cut date df dirname du env head id ln ls mkdir mktemp mv nproc realpath
base       coreutils                  rm rmdir seq sha256sum sleep sort stat tac tail tee touch tr uname wc
base       diffutils                  diff cmp
base       findutils                  find xargs
base       git                        git
base       grep                       grep
base       hostname                   hostname
base       make                       make
base       mawk                       awk
base       sed                        sed
base       tar                        tar
base       util-linux                 flock nsenter pivot_root setpriv setsid umount unshare
base       ca-certificates            /etc/ssl/certs/ca-certificates.crt
rust       -                          cargo rustc cargo-fmt cargo-clippy
rust       gcc                        cc
rust       libc6-dev                  /usr/include/stdlib.h
unit       bash                       bash
unit       gzip                       gzip
unit       procps                     kill
unit       python3                    python3
unit       faketime                   faketime
unit       postgresql-15              /usr/lib/postgresql/15/bin/postgres
unit       pgbouncer                  /usr/sbin/pgbouncer
unit       prometheus                 prometheus promtool
unit       redis-server               redis-server
cluster    -                          go
cluster    gcc                        gcc
cluster    libc6-dev                  /usr/include/stdlib.h
cluster    containerd                 containerd ctr
cluster    runc                       runc
cluster    containernetworking-plugins /usr/lib/cni/bridge
cluster    busybox-static             /bin/busybox
cluster    iptables                   iptables
cluster    nftables                   nft
cluster    conntrack                  conntrack
cluster    iproute2                   ip
cluster    procps                     sysctl kill
cluster    mount                      mount umount
cluster    openssl                    openssl
cluster    curl                       curl
cluster    python3                    python3
stores     postgresql-15              /usr/lib/postgresql/15/bin/postgres
stores     redis-server               redis-server
images     binutils                   objcopy readelf
images     dpkg                       dpkg
images     apt                        apt-get apt-cache
images     python3                    python3
images     python3-pip                python:pip
chart      prometheus                 promtool
chart      prometheus-alertmanager    prometheus-alertmanager amtool
chart      python3                    python3
dashboards -                          go
dashboards prometheus                 prometheus promtool
dashboards python3                    python3
dashboards redis-server               redis-server
pictures   nodejs                     node
pictures   npm                        npm
pictures   chromium                   chromium
tree       python3                    python3
scripts    shellcheck                 shellcheck
scripts    shfmt                      shfmt
scripts    python3                    python3
clients    python3                    python3
clients    python3-venv               python:ensurepip
clients    nodejs                     node
clients    npm                        npm
quickstart curl                       curl
stack      -                          go
stack      curl                       curl
stack      prometheus                 prometheus
stack      prometheus-alertmanager    prometheus-alertmanager
fuzz       g++                        g++
counts     valgrind                   valgrind
counts     python3                    python3
bench      nginx                      nginx
bench      haproxy                    haproxy
bench      python3                    python3
fresh      -                          rustup go
fresh      debootstrap                debootstrap
fresh      apt                        apt-get
fresh      mount                      mount umount
'

# parts_of TARGET: the parts of the table that a `make` target and everything it calls need.
parts_of() {
  case $1 in
  test) echo base rust unit tree counts cluster images chart dashboards stack scripts clients ;;
  e2e) echo base rust cluster images stores ;;
  demo | scale | scale-smoke | chaos | restore) echo base rust cluster images ;;
  demo-down | cluster | cluster-down | setup) echo base cluster ;;
  images | images-verify) echo base rust images ;;
  chart) echo base cluster chart ;;
  dashboards | queries | metrics | observability) echo base rust cluster chart dashboards ;;
  pictures) echo base rust cluster images dashboards pictures ;;
  scripts) echo base scripts ;;
  unit | caches | faults | limits | ledger | ledger-smoke) echo base rust unit ;;
  fmt | lint | drift | crds | docs | cli | install-cli | fuzz-smoke) echo base rust ;;
  tree | supply | deny | krew) echo base rust tree ;;
  conformance | conformance-smoke) echo base rust clients ;;
  valkey) echo base rust unit clients ;;
  quickstart) echo base rust quickstart ;;
  stack | observability-stack) echo base rust stack ;;
  fuzz) echo base rust fuzz ;;
  budget) echo base rust counts ;;
  bench) echo base rust counts bench ;;
  fresh) echo base fresh ;;
  *) return 1 ;;
  esac
}

# remedy PROGRAM: what to do about one that no package of Debian 12 has.
remedy() {
  case $1 in
  go) echo "go is missing or older than $(wanted_go): get Go $(wanted_go) or newer from https://go.dev/dl" ;;
  rustup) echo "rustup is missing: get it from https://rustup.rs" ;;
  cargo-*) echo "$1 is missing for Rust $(wanted_rust): rustup component add ${1/cargo-fmt/rustfmt}" ;;
  *) echo "$1 is missing or older than $(wanted_rust): get Rust from https://rustup.rs, which installs what rust-toolchain.toml names" ;;
  esac
}

wanted_go() { awk '$1 == "go" { print $2 }' "$needs_dir/programs/go.mod"; }
wanted_rust() { sed -n 's/^channel = "\(.*\)"/\1/p' "$needs_dir/../../rust-toolchain.toml"; }
needs_dir=$(dirname "$(realpath "${BASH_SOURCE[0]}")")

# at_least WANTED FOUND: releases, such as 1.26.
at_least() { [ -n "$2" ] && [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

# Asked in the checkout, where rust-toolchain.toml and go.mod choose the release.
is_there() {
  case $1 in
  /*) [ -e "$1" ] ;;
  python3) at_least 3.11 "$(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null)" ;;
  python:*) python3 -c "import ${1#python:}" 2>/dev/null ;;
  go) (cd "$needs_dir/programs" && go version) >/dev/null 2>&1 ;;
  cargo | rustc) at_least "$(wanted_rust)" "$(cd "$needs_dir" && "$1" --version 2>/dev/null | cut -d' ' -f2)" ;;
  cargo-*) (cd "$needs_dir" && cargo "${1#cargo-}" --version) >/dev/null 2>&1 ;;
  *) command -v "$1" >/dev/null ;;
  esac
}

# missing PART...: PACKAGE PROGRAM of each thing that this machine lacks, one a line, none twice.
missing() {
  local part package programs program
  while read -r part package programs; do
    [[ " $* " == *" ${part:-none} "* ]] || continue
    for program in $programs; do is_there "$program" || echo "$package $program"; done
  done <<<"$needs" | sort -u
}
