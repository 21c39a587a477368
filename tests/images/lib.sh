# shellcheck shell=bash
# What the image scripts share. Sourced, never run.
# shellcheck disable=SC2034,SC2154 # its variables are used where it is sourced

# shellcheck source=../testbed/lib.sh
. "$here/../testbed/lib.sh"

images_dir=$(realpath -m "$cache/images")
registry=docker.io/local # never pulled from: the images are loaded into the bed under this name
tag=dev

# made_from IMAGE KEY: true when the archive is there and was made from what KEY stands for.
made_from() { [ -f "$images_dir/$1.tar" ] && [ "$(cat "$images_dir/$1.key" 2>/dev/null)" = "$2" ]; }

# pack IMAGE KEY ARGUMENTS-OF-MKIMAGE...: makes the archive unless it is there for the same KEY, and says its size.
pack() {
  local image=$1 key=$2
  shift 2
  if ! made_from "$image" "$key"; then
    "$here/mkimage" "$registry/$image:$tag" "$images_dir/$image.tar" "$@" >"$images_dir/$image.said"
    echo "$key" >"$images_dir/$image.key"
  fi
  say "$(cat "$images_dir/$image.said")"
}
