# shellcheck shell=bash
# Cgroups for the node that will run in the folder: below this process's own, and seen there as the root. So the machine may hold
# another node meanwhile, and what is left can be found and removed. Sourced by `run`.
# shellcheck disable=SC2034 # its variables are used where it is sourced

own_groups=()       # the folders made, one for each hierarchy of cgroup v1
cgroup_namespace=() # what unshare is told

# With cgroup v2 alone there are none: a group with processes in it cannot limit groups below it, so there the folder sees the
# machine's own tree, as the test bed does anyway.
make_cgroups() {
  local controllers path mounted group
  while IFS=: read -r _ controllers path; do
    [ -n "$controllers" ] || continue
    mounted=$(awk -v wanted=",$controllers," '$3 == "cgroup" && index("," $4 ",", wanted) { print $2; exit }' /proc/mounts)
    [ -n "$mounted" ] || continue
    group=$mounted${path%/}/bowsprit-fresh
    mkdir -p "$group"
    own_groups+=("$group")
    # A new cpuset may use nothing until it is told.
    if [ -e "$group/cpuset.cpus" ]; then
      cat "${group%/*}/cpuset.cpus" >"$group/cpuset.cpus"
      cat "${group%/*}/cpuset.mems" >"$group/cpuset.mems"
    fi
  done </proc/self/cgroup
  [ ${#own_groups[@]} = 0 ] || cgroup_namespace=(--cgroup)
}

join_cgroups() {
  local group
  for group in "${own_groups[@]}"; do echo "$BASHPID" >"$group/cgroup.procs"; done
}

no_cgroups_left() {
  local group left=0
  for group in "${own_groups[@]}"; do
    find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ ! -d "$group" ] || left=1
  done
  return $left
}
