#!/bin/sh
# rules.sh ALERTS RULES: makes rule files, as Prometheus reads them, of the chart's lists of alerts.
set -eu
for file in "$1"/*.yaml; do
  name=$(basename "$file" .yaml)
  {
    printf 'groups:\n  - name: bowsprit-%s\n    rules:\n' "$name"
    # RELEASE is the release's namespace and name, by which its operators' series are told.
    sed -e 's/RELEASE/bowsprit-system\/bowsprit/g' -e '/./s/^/      /' "$file"
  } >"$2/$name.yaml"
done
