#!/bin/sh
# rules.sh ALERTS RULES: makes rule files, as Prometheus reads them, of the chart's lists of alerts.
set -eu
for file in "$1"/*.yaml; do
  name=$(basename "$file" .yaml)
  {
    printf 'groups:\n  - name: bowsprit-%s\n    rules:\n' "$name"
    # RELEASE is the release's namespace and name, by which its operators' series are told. The ledger service is wanted where the chart
    # brings it, and here there is none.
    sed -e 's/RELEASE/bowsprit-system\/bowsprit/g' -e 's/LEDGER_IS_WANTED//' -e '/./s/^/      /' "$file"
  } >"$2/$name.yaml"
done
