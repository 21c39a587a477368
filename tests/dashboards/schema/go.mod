// The published schema of Grafana's dashboards (Apache-2.0), for a check of ours; nothing of it is in any image.
module bowsprit.dev/tests/dashboards/schema

go 1.26

require github.com/grafana/grafana-foundation-sdk/go v0.0.22
