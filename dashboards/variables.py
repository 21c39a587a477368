"""The variables that dashboards share."""

from grafana import variable

NAMESPACE = variable("namespace", "Namespace", "label_values(bowsprit_build_info, namespace)")
WORKLOAD = variable("workload", "Workload", 'label_values(bowsprit_build_info{namespace=~"$namespace"}, workload)')
PROVIDER = variable("provider", "Provider", 'label_values(bowsprit_keys_configured{namespace=~"$namespace", workload=~"$workload"}, provider)')
MODEL = variable("model", "Model", 'label_values(bowsprit_breaker_state{namespace=~"$namespace", workload=~"$workload", provider=~"$provider"}, model)')
