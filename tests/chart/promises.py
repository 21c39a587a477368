"""What must stay true of the rendered chart. Called by `check` with the folder of rendered objects."""

import json
import re
import sys
import unittest
from pathlib import Path

FOLDER = Path(sys.argv.pop(1))
CHART = Path(__file__).parent / "../../charts/bowsprit"
PERMISSIONS = Path(__file__).parent / "../../docs/permissions.md"


def rendered(name):
    """The objects of one rendering, by (kind, name)."""
    text, objects = (FOLDER / f"{name}.json").read_text(), {}
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        found, at = decoder.raw_decode(text, at)
        objects[found["kind"], found["metadata"]["name"]] = found
        at += len(text[at:]) - len(text[at:].lstrip())
    return objects


def granted(rules):
    """Each resource of each rule as (groups, resource, names, verbs)."""
    return sorted(
        (", ".join(group or "core" for group in rule["apiGroups"]), resource, ", ".join(rule.get("resourceNames", [])), ", ".join(sorted(rule["verbs"])))
        for rule in rules for resource in rule["resources"])


def written(heading):
    """The rows of a table of docs/permissions.md, without the reason that each must have."""
    section = PERMISSIONS.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")][2:]
    assert all(len(row) == 5 and row[4] for row in rows), f"a row of {heading!r} has no reason"
    return sorted(tuple(row[:4]) for row in rows)


def of_kind(objects, kind):
    return [found for (this, _), found in objects.items() if this == kind]


class Permissions(unittest.TestCase):
    def setUp(self):
        self.objects = rendered("every")
        self.cluster = self.objects["ClusterRole", "bowsprit-operator"]["rules"]
        self.own = self.objects["Role", "bowsprit-operator"]["rules"]

    def test_no_cluster_role_says_anything_of_secrets(self):
        for role in of_kind(self.objects, "ClusterRole"):
            for rule in role["rules"]:
                self.assertNotIn("secrets", rule["resources"], role["metadata"]["name"])

    def test_no_rule_has_a_wildcard(self):
        for role in of_kind(self.objects, "ClusterRole") + of_kind(self.objects, "Role"):
            for rule in role["rules"]:
                self.assertNotIn("*", rule["verbs"] + rule["resources"] + rule["apiGroups"])

    def test_the_one_secret_that_can_be_read_is_the_webhook_certificate(self):
        readers = [rule for rule in self.own if "secrets" in rule["resources"] and set(rule["verbs"]) != {"create"}]
        self.assertEqual([rule["resourceNames"] for rule in readers], [["bowsprit-webhook-tls"], ["bowsprit-ledger-tls"]])
        for reader in readers:
            self.assertEqual(sorted(reader["verbs"]), ["get", "patch", "update"])
        without = [rule for rule in rendered("default")["Role", "bowsprit-operator"]["rules"] if "secrets" in rule["resources"]]
        self.assertNotIn("ledger", json.dumps(without))

    def test_only_its_own_webhook_configuration_can_be_changed(self):
        rules = [rule for rule in self.cluster if "mutatingwebhookconfigurations" in rule["resources"]]
        self.assertEqual([rule["resourceNames"] for rule in rules], [["bowsprit"]])

    def test_nothing_can_be_impersonated_bound_or_run_in_pods(self):
        for rule in self.cluster + self.own:
            self.assertFalse(set(rule["verbs"]) & {"impersonate", "bind", "escalate"})
            self.assertFalse(set(rule["resources"]) & {"pods/exec", "pods/ephemeralcontainers", "serviceaccounts/token"})

    def test_only_the_platform_writes_what_may_be_used_and_an_auditor_writes_nothing(self):
        writes = {"create", "delete", "deletecollection", "patch", "update"}
        def written_by(role):
            rules = self.objects["ClusterRole", role]["rules"]
            return {resource for rule in rules for resource in rule["resources"] if writes & set(rule["verbs"])}
        self.assertEqual(written_by("bowsprit-platform"), {"providerconfigs", "usagepolicies"})
        self.assertEqual(written_by("bowsprit-app-team"), {"modelroutes"})
        self.assertEqual(written_by("bowsprit-auditor"), set())
        self.assertEqual(written_by("bowsprit-edit"), {"providerconfigs", "modelroutes"})
        kinds = {"providerconfigs", "modelroutes", "usagepolicies"}
        for role in ("platform", "app-team", "auditor", "view"):
            rules = self.objects["ClusterRole", f"bowsprit-{role}"]["rules"]
            seen = {resource for rule in rules for resource in rule["resources"] if {"get", "list", "watch"} <= set(rule["verbs"])}
            self.assertLessEqual(kinds, seen, role)
        self.assertNotIn(("ClusterRole", "bowsprit-platform"), rendered("single"))

    def test_each_rule_stands_with_its_reason_in_the_page_of_permissions(self):
        """A new permission is a decision: docs/permissions.md says why."""
        for heading, rules in (("In the whole cluster", self.cluster), ("In its own namespace", self.own)):
            self.assertEqual(written(heading), granted(rules), f"docs/permissions.md, {heading!r}")


class Ledger(unittest.TestCase):
    def pod(self, name):
        return rendered(name)["Deployment", "bowsprit-ledger"]["spec"]["template"]["spec"]

    def test_there_is_none_unless_it_is_asked_for(self):
        self.assertFalse([key for key in rendered("default") if "ledger" in key[1]])
        container = rendered("default")["Deployment", "bowsprit"]["spec"]["template"]["spec"]["containers"][0]
        self.assertNotIn("BOWSPRIT_LEDGER_SERVICE", json.dumps(container))

    def test_it_asks_about_tokens_and_rights_and_reads_no_object(self):
        rules = rendered("every")["ClusterRole", "bowsprit-ledger"]["rules"]
        self.assertEqual(granted(rules), [("authentication.k8s.io", "tokenreviews", "", "create"), ("authorization.k8s.io", "subjectaccessreviews", "", "create")])
        bound = [found["roleRef"]["name"] for kind in ("RoleBinding", "ClusterRoleBinding") for found in of_kind(rendered("every"), kind)
                 if any(subject["name"] == "bowsprit-ledger" for subject in found["subjects"])]
        self.assertEqual(bound, ["bowsprit-ledger"])

    def test_its_reader_may_read_and_nothing_else_and_no_pod_is_one(self):
        objects = rendered("every")
        self.assertEqual(granted(objects["ClusterRole", "bowsprit-ledger-reader"]["rules"]), [("bowsprit.dev", "providerconfigs/ledger", "", "get")])
        self.assertFalse(objects["ServiceAccount", "bowsprit-ledger-reader"]["automountServiceAccountToken"])
        self.assertNotIn('"serviceAccountName": "bowsprit-ledger-reader"', json.dumps(list(objects.values())))
        bound = [found["metadata"]["name"] for kind in ("RoleBinding", "ClusterRoleBinding") for found in of_kind(objects, kind)
                 if any(subject["name"] == "bowsprit-ledger-reader" for subject in found["subjects"])]
        self.assertEqual(bound, ["bowsprit-ledger-reader"])

    def test_who_reads_is_given_the_one_service_and_the_one_reader(self):
        ask = ("core", "services/proxy", "https:bowsprit-ledger:8446", "get")
        make = ("core", "serviceaccounts/token", "bowsprit-ledger-reader", "create")
        self.assertEqual(granted(rendered("every")["Role", "bowsprit-ledger-ask"]["rules"]), [ask])
        self.assertEqual(granted(rendered("every")["Role", "bowsprit-ledger-read-all"]["rules"]), [make, ask])

    def test_it_is_where_its_certificate_and_the_sidecars_say(self):
        container = rendered("every")["Deployment", "bowsprit"]["spec"]["template"]["spec"]["containers"][0]
        given = {variable["name"]: variable.get("value") for variable in container["env"]}
        service = rendered("every")["Service", given["BOWSPRIT_LEDGER_SERVICE"]]["spec"]
        self.assertEqual(service["ports"][0]["port"], 8446)
        tls = next(volume for volume in self.pod("every")["volumes"] if volume["name"] == "tls")
        self.assertEqual(tls["secret"]["secretName"], given["BOWSPRIT_LEDGER_SECRET"])
        # The state that the operator keeps beside the pair is none of its business.
        self.assertEqual([item["key"] for item in tls["secret"]["items"]], ["tls.crt", "tls.key"])
        issued = rendered("ledger-issued")["Certificate", "bowsprit-ledger"]["spec"]
        self.assertEqual((issued["secretName"], issued["dnsNames"]), (given["BOWSPRIT_LEDGER_SECRET"], ["bowsprit-ledger.bowsprit-system.svc"]))

    def test_it_is_restricted_and_a_volume_has_one_owner(self):
        for name in ("every", "ledger-postgres", "ledger-issued"):
            pod, (container,) = self.pod(name), self.pod(name)["containers"]
            self.assertTrue(pod["securityContext"]["runAsNonRoot"])
            self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            self.assertEqual(container["securityContext"], {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
        self.assertEqual(rendered("every")["Deployment", "bowsprit-ledger"]["spec"]["strategy"], {"type": "Recreate"})
        claim = rendered("every")["PersistentVolumeClaim", "bowsprit-ledger"]
        self.assertEqual(claim["metadata"]["annotations"]["helm.sh/resource-policy"], "keep")
        for name in ("ledger-postgres", "ledger-issued"):
            self.assertEqual(of_kind(rendered(name), "PersistentVolumeClaim"), [])

    def test_the_ledger_is_held_against_a_prometheus_that_is_named_and_reaches_it(self):
        def given(name):
            return {it["name"]: it.get("value") for it in self.pod(name)["containers"][0]["env"]}

        def ports(name):
            return [port["port"] for rule in rendered(name)["NetworkPolicy", "bowsprit-ledger"]["spec"]["egress"] for port in rule["ports"]]
        told = given("ledger-reconciled")
        self.assertEqual((told["BOWSPRIT_LEDGER_PROMETHEUS"], told["BOWSPRIT_LEDGER_RECONCILE_SECONDS"]), ("http://prometheus.monitoring:9091", "900"))
        self.assertIn(9091, ports("ledger-reconciled"))
        self.assertNotIn("BOWSPRIT_LEDGER_PROMETHEUS", given("every"))
        self.assertNotIn(9090, ports("every"))

    def test_a_database_password_is_mounted_into_the_ledger_alone(self):
        for (kind, name), found in rendered("ledger-postgres").items():
            if kind == "Deployment" and name != "bowsprit-ledger":
                self.assertNotIn('"db"', json.dumps(found))
        self.assertIn('"secretName": "db"', json.dumps(self.pod("ledger-postgres")))


class IssuedByCertManager(unittest.TestCase):
    def setUp(self):
        self.objects = rendered("issued")
        self.certificate = self.objects["Certificate", "bowsprit-webhook"]["spec"]

    def test_the_leaf_is_for_the_service_and_in_the_secret_that_the_operator_reads(self):
        environment = {e["name"]: e.get("value") for e in
                       self.objects["Deployment", "bowsprit"]["spec"]["template"]["spec"]["containers"][0]["env"]}
        self.assertEqual(environment["BOWSPRIT_CERTIFICATES"], "cert-manager")
        self.assertEqual(self.certificate["secretName"], environment["BOWSPRIT_WEBHOOK_SECRET"])
        self.assertEqual(self.certificate["dnsNames"], [f"{environment['BOWSPRIT_WEBHOOK_SERVICE']}.bowsprit-system.svc"])
        self.assertEqual(self.certificate["privateKey"]["rotationPolicy"], "Always")

    def test_its_ca_outlives_it_unless_an_issuer_is_named(self):
        self.assertEqual(self.certificate["issuerRef"], {"name": "bowsprit-ca", "kind": "Issuer", "group": "cert-manager.io"})
        ca = self.objects["Certificate", "bowsprit-ca"]["spec"]
        self.assertEqual(self.objects["Issuer", "bowsprit-ca"]["spec"]["ca"]["secretName"], ca["secretName"])
        self.assertEqual(self.objects["Issuer", ca["issuerRef"]["name"]]["spec"], {"selfSigned": {}})
        named = rendered("issued-by")
        self.assertEqual(of_kind(named, "Issuer"), [])
        self.assertEqual(named["Certificate", "bowsprit-webhook"]["spec"]["issuerRef"]["kind"], "ClusterIssuer")

    def test_both_webhook_configurations_get_their_ca_from_it(self):
        for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"):
            annotations = self.objects[kind, "bowsprit"]["metadata"]["annotations"]
            self.assertEqual(annotations["cert-manager.io/inject-ca-from"], "bowsprit-system/bowsprit-webhook")
            self.assertNotIn("cert-manager.io/inject-ca-from", rendered("default")[kind, "bowsprit"]["metadata"].get("annotations", {}))

    def test_the_operator_then_writes_no_secret_and_no_webhook_configuration(self):
        cluster = self.objects["ClusterRole", "bowsprit-operator"]["rules"]
        self.assertFalse([rule for rule in cluster if "admissionregistration.k8s.io" in rule["apiGroups"]])
        own = [rule for rule in self.objects["Role", "bowsprit-operator"]["rules"] if "secrets" in rule["resources"]]
        self.assertEqual([(rule["resourceNames"], rule["verbs"]) for rule in own], [(["bowsprit-webhook-tls"], ["get", "list", "watch"])])


class Validation(unittest.TestCase):
    def setUp(self):
        webhooks = rendered("every")["ValidatingWebhookConfiguration", "bowsprit"]["webhooks"]
        self.webhooks = {webhook["name"].split(".")[0]: webhook for webhook in webhooks}

    def test_advice_never_stands_in_the_way_and_keys_never_move_unasked(self):
        self.assertEqual({name: webhook["failurePolicy"] for name, webhook in self.webhooks.items()}, {"object": "Ignore", "advice": "Ignore", "hosts": "Fail", "keys": "Fail"})

    def test_hosts_are_asked_about_only_where_some_are_allowed(self):
        names = [webhook["name"] for webhook in rendered("default")["ValidatingWebhookConfiguration", "bowsprit"]["webhooks"]]
        self.assertNotIn("hosts.validate.bowsprit.dev", names)
        container = rendered("every")["Deployment", "bowsprit"]["spec"]["template"]["spec"]["containers"][0]
        given = {variable["name"]: variable.get("value") for variable in container["env"]}
        self.assertEqual(given["BOWSPRIT_ALLOWED_HOSTS"], "api.anthropic.com,*.openai.azure.com")

    def test_advice_is_asked_for_only_of_what_somebody_applies_and_says_something_of_ours(self):
        conditions = {it["name"]: it["expression"] for it in self.webhooks["advice"]["matchConditions"]}
        self.assertIn("ownerReferences", conditions["is-applied-by-somebody"])
        self.assertIn('startsWith("bowsprit.dev/")', conditions["says-something-of-ours"])
        for rule in self.webhooks["advice"]["rules"]:
            self.assertFalse({"secrets", "configmaps", "replicasets"} & set(rule["resources"]))

    def test_only_a_change_of_keys_or_where_they_go_waits_for_an_operator(self):
        conditions = {it["name"]: it["expression"].replace(".?", ".") for it in self.webhooks["keys"]["matchConditions"]}
        for field in ("provider", "endpoint", "credentials", "rateLimits.store", "cache.store", "limits", "guards"):
            self.assertIn(f"oldObject.spec.{field}", conditions["moves-keys"])
        self.assertEqual(self.webhooks["keys"]["rules"][0]["resources"], ["providerconfigs", "modelroutes", "usagepolicies"])
        # Of ModelRoutes and UsagePolicies only those that name a Secret: a pause waits for no operator.
        self.assertIn("object.spec.cache.store.hasValue()", conditions["may-name-a-secret"])
        self.assertIn("exists(limit, has(limit.store))", conditions["may-name-a-secret"])
        self.assertIn("exists(guard, has(guard.webhook))", conditions["may-name-a-secret"])

    def test_helm_never_names_the_ca_that_the_operator_writes(self):
        for webhook in self.webhooks.values():
            self.assertNotIn("caBundle", webhook["clientConfig"])


class Webhooks(unittest.TestCase):
    def setUp(self):
        self.webhooks = rendered("every")["MutatingWebhookConfiguration", "bowsprit"]["webhooks"]

    def test_a_pod_is_never_let_through_without_its_sidecar(self):
        self.assertEqual([webhook["failurePolicy"] for webhook in self.webhooks], ["Fail", "Fail", "Fail"])

    def test_both_answer_in_the_same_way(self):
        for webhook in self.webhooks:
            self.assertEqual(webhook["sideEffects"], "None")
            self.assertEqual(webhook["reinvocationPolicy"], "IfNeeded")
            self.assertEqual(webhook["timeoutSeconds"], 5)
            self.assertEqual(webhook["clientConfig"]["service"], {
                "name": "bowsprit-webhook", "namespace": "bowsprit-system", "path": "/inject", "port": 443})

    def test_helm_never_names_the_ca_that_the_operator_writes(self):
        for webhook in self.webhooks:
            self.assertNotIn("caBundle", webhook["clientConfig"])

    def test_only_pods_at_their_creation_are_asked_about(self):
        for webhook in self.webhooks:
            self.assertEqual([(rule["operations"], rule["resources"]) for rule in webhook["rules"]], [(["CREATE"], ["pods"])])
            self.assertNotIn("matchConditions", webhook)

    def test_system_and_own_namespace_are_left_out(self):
        for webhook in self.webhooks:
            if webhook["name"].startswith("test."):
                continue
            excluded = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "bowsprit-system", "istio-system"]}
            self.assertIn(excluded, webhook["namespaceSelector"]["matchExpressions"])

    def test_a_pod_is_asked_about_exactly_once_and_its_own_wish_wins(self):
        for namespace in (None, "true", "false"):
            for pod in (None, "true", "false", "other"):
                asked = sum(self.matches(webhook, namespace, pod) for webhook in self.webhooks)
                wanted = pod == "true" or (namespace == "true" and pod != "false")
                self.assertEqual(asked, int(wanted), f"namespace {namespace}, pod {pod}")

    def test_of_its_own_namespace_the_pod_of_helm_test_alone_is_asked_about(self):
        """An operator must be able to start without an operator."""
        objects, name = rendered("every"), {"kubernetes.io/metadata.name": "bowsprit-system"}
        template = objects["Deployment", "bowsprit"]["spec"]["template"]["metadata"]["labels"]
        asked = lambda labels: sum(self.asks(webhook, name, labels) for webhook in self.webhooks)
        self.assertEqual(asked(objects["Pod", "bowsprit-test"]["metadata"]["labels"]), 1)
        self.assertEqual(asked(template | {"bowsprit.dev/inject": "true"}), 0)

    def test_the_pod_of_helm_test_is_behind_no_service_and_goes_when_it_is_done(self):
        objects = rendered("default")
        pod, provider = objects["Pod", "bowsprit-test"]["metadata"], objects["ProviderConfig", "bowsprit-test"]
        selector = objects["Service", "bowsprit-webhook"]["spec"]["selector"]
        self.assertNotEqual(selector, {key: pod["labels"].get(key) for key in selector})
        self.assertEqual(provider["spec"]["podSelector"]["matchLabels"], {"bowsprit.dev/helm-test": "true"})
        for hook in (pod, provider["metadata"]):
            self.assertEqual(hook["annotations"]["helm.sh/hook"], "test")
            self.assertIn("hook-succeeded", hook["annotations"]["helm.sh/hook-delete-policy"])

    @classmethod
    def matches(cls, webhook, namespace, pod):
        inject = "bowsprit.dev/inject"
        return cls.asks(webhook, {inject: namespace, "kubernetes.io/metadata.name": "team-a"}, {inject: pod})

    @staticmethod
    def asks(webhook, spaces, pods):
        def holds(expression, labels):
            has = labels.get(expression["key"]) in expression["values"]
            return has if expression["operator"] == "In" else not has

        return all(holds(rule, spaces) for rule in webhook["namespaceSelector"]["matchExpressions"]) and all(
            holds(rule, pods) for rule in webhook["objectSelector"]["matchExpressions"])


class Monitoring(unittest.TestCase):
    def setUp(self):
        self.objects = rendered("every")

    def test_each_dashboard_is_a_config_map_that_the_sidecar_of_grafana_finds(self):
        found = [one for one in of_kind(self.objects, "ConfigMap") if one["metadata"]["labels"].get("grafana_dashboard") == "1"]
        files = {name: json.loads(text) for one in found for name, text in one["data"].items()}
        sources = {f"bowsprit-{file.name}": json.loads(file.read_text()) for file in (CHART / "dashboards").glob("*.json")}
        self.assertEqual(files, sources)
        self.assertGreaterEqual(len(files), 4)

    def test_there_is_no_dashboard_unless_it_is_asked_for(self):
        self.assertEqual(of_kind(rendered("default"), "ConfigMap"), [])

    def test_no_key_of_pagerduty_or_slack_is_in_the_configuration_of_alertmanager(self):
        text = self.objects["Secret", "bowsprit-alertmanager"]["stringData"]["alertmanager.yaml"]
        self.assertNotIn(("Secret", "bowsprit-alertmanager"), rendered("default"))
        for line in text.splitlines():
            self.assertNotRegex(line, r"routing_key:|service_key:|api_url:|hooks.slack.com")
        self.assertEqual(text.count("_file: /etc/alertmanager/secrets/bowsprit-"), 4)

    def test_rules_of_objectives_are_made_only_where_rules_are_wanted(self):
        names = lambda objects: {variable["name"] for variable in objects["Deployment", "bowsprit"]["spec"]["template"]["spec"]["containers"][0]["env"]}
        groups = lambda objects: {group for rule in objects["ClusterRole", "bowsprit-operator"]["rules"] for group in rule["apiGroups"]}
        for objects, wanted in ((self.objects, True), (rendered("default"), False)):
            self.assertEqual("BOWSPRIT_SLO_RUNBOOKS" in names(objects), wanted)
            self.assertEqual("monitoring.coreos.com" in groups(objects), wanted)

    def test_every_rule_says_which_group_it_is_of_and_where_its_page_is(self):
        for group in self.objects["PrometheusRule", "bowsprit"]["spec"]["groups"]:
            for rule in group["rules"]:
                self.assertEqual(f"bowsprit-{rule['labels']['bowsprit']}", group["name"])
                self.assertTrue(rule["annotations"]["runbook_url"].endswith(f"/docs/runbooks/{rule['alert']}.md"))

    def test_a_workload_is_whoever_stands_behind_the_pod(self):
        """The relabelling, done as Prometheus does it: each rule whose regex fits the whole text sets the label."""
        (endpoint,) = self.objects["PodMonitor", "bowsprit-sidecars"]["spec"]["podMetricsEndpoints"]

        def workload(pod, kind="", controller=""):
            meta, label = {"pod_name": pod, "pod_controller_kind": kind, "pod_controller_name": controller}, None
            for rule in endpoint["relabelings"]:
                text = ";".join(meta[source.removeprefix("__meta_kubernetes_")] for source in rule["sourceLabels"])
                if match := re.fullmatch(rule.get("regex", "(.*)"), text):
                    label = re.sub(r"\$(\d)", lambda group: match[int(group[1])] or "", rule.get("replacement", "$1"))
            return label

        self.assertEqual(workload("web-7d4b9c6f8-x2x7z", "ReplicaSet", "web-7d4b9c6f8"), "web")
        self.assertEqual(workload("db-0", "StatefulSet", "db"), "db")
        self.assertEqual(workload("nightly-29000123-abcde", "Job", "nightly-29000123"), "nightly")
        self.assertEqual(workload("import-abcde", "Job", "import"), "import")
        self.assertEqual(workload("bare"), "bare")


class Network(unittest.TestCase):
    def setUp(self):
        self.policy = rendered("every")["NetworkPolicy", "bowsprit"]["spec"]
        self.container = rendered("every")["Deployment", "bowsprit"]["spec"]["template"]["spec"]["containers"][0]

    @staticmethod
    def ports(rules):
        return sorted(str(port["port"]) for rule in rules for port in rule["ports"])

    def test_the_operator_is_closed_but_for_its_own_ports(self):
        self.assertEqual(self.policy["policyTypes"], ["Ingress", "Egress"])
        own = sorted(port["name"] for port in self.container["ports"])
        self.assertEqual(self.ports(self.policy["ingress"]), own, "each port that it listens on, and no other")

    def test_the_operator_reaches_names_the_apiserver_sidecars_the_other_operators_and_the_ledger(self):
        self.assertEqual(self.ports(self.policy["egress"]), ["4001", "443", "53", "53", "6443", "ledger", "stream"])
        to_ledger = [rule for rule in self.policy["egress"] if rule["ports"][0]["port"] == "ledger"]
        ledger = rendered("every")["Deployment", "bowsprit-ledger"]["spec"]
        self.assertEqual(to_ledger[0]["to"], [{"podSelector": ledger["selector"]}])
        environment = {it["name"]: it.get("value") for it in ledger["template"]["spec"]["containers"][0]["env"]}
        operator = rendered("every")["Deployment", "bowsprit"]["spec"]["template"]["spec"]["serviceAccountName"]
        self.assertTrue(environment["BOWSPRIT_LEDGER_OPERATOR"].endswith(f"/{operator}"), "whom it lets tell what was applied")
        to_operators = [rule for rule in self.policy["egress"] if rule["ports"][0]["port"] == "stream"]
        self.assertEqual(to_operators[0]["to"], [{"podSelector": self.policy["podSelector"]}])

    def test_every_rule_of_the_example_for_apps_says_from_where_or_for_which_port(self):
        example = rendered("example")["NetworkPolicy", "bowsprit-apps"]["spec"]
        self.assertEqual(example["podSelector"]["matchLabels"], {"bowsprit.dev/injected": "true"})
        self.assertEqual(self.ports(example["ingress"]), ["4001"])
        self.assertEqual(self.ports(example["egress"]), ["443", "53", "53", "8444", "8446"])
        for port, whom in ((8444, "bowsprit"), (8446, "bowsprit-ledger")):
            labels = rendered("every")["Deployment", whom]["spec"]["template"]["metadata"]["labels"]
            wanted = next(rule for rule in example["egress"] if rule["ports"][0]["port"] == port)["to"][0]["podSelector"]["matchLabels"]
            self.assertLessEqual(wanted.items(), labels.items(), f"it finds {whom}")
        public = next(rule for rule in example["egress"] if rule["ports"][0]["port"] == 443)["to"]
        self.assertIn("169.254.0.0/16", public[0]["ipBlock"]["except"], "metadata services")


class Operator(unittest.TestCase):
    def setUp(self):
        self.objects = rendered("default")
        self.pod = self.objects["Deployment", "bowsprit"]["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]

    def test_it_meets_the_restricted_pod_security_standard(self):
        self.assertTrue(self.pod["securityContext"]["runAsNonRoot"])
        self.assertEqual(self.pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        self.assertEqual(self.container["securityContext"], {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}})
        self.assertFalse(set(self.pod) & {"hostNetwork", "hostPID", "hostIPC"})
        # Its own token for the other operators, for them alone.
        (volume,) = self.pod["volumes"]
        (source,) = volume["projected"]["sources"]
        self.assertEqual(source["serviceAccountToken"]["audience"], "bowsprit.dev")

    def test_it_has_requests_and_a_memory_limit(self):
        self.assertIn("memory", self.container["resources"]["limits"])
        self.assertEqual(set(self.container["resources"]["requests"]), {"cpu", "memory"})

    def test_there_are_three_spread_over_nodes_and_zones_and_a_drain_takes_one(self):
        self.assertEqual(self.objects["Deployment", "bowsprit"]["spec"]["replicas"], 3)
        self.assertEqual(self.objects["PodDisruptionBudget", "bowsprit"]["spec"]["maxUnavailable"], 1)
        (apart,) = self.pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        (spread,) = self.pod["topologySpreadConstraints"]
        self.assertEqual((apart["podAffinityTerm"]["topologyKey"], spread["topologyKey"]), ("kubernetes.io/hostname", "topology.kubernetes.io/zone"))
        labels = self.objects["Deployment", "bowsprit"]["spec"]["template"]["metadata"]["labels"]
        for selector in (apart["podAffinityTerm"]["labelSelector"], spread["labelSelector"]):
            self.assertLessEqual(selector["matchLabels"].items(), labels.items())
        # None schedules less than it could: a cluster of one node or one zone runs all three.
        self.assertEqual(spread["whenUnsatisfiable"], "ScheduleAnyway")

    def test_one_operator_alone_blocks_no_node_drain(self):
        self.assertEqual(of_kind(rendered("single"), "PodDisruptionBudget"), [])

    def test_services_and_budgets_select_the_deployments_pods(self):
        labels = self.objects["Deployment", "bowsprit"]["spec"]["template"]["metadata"]["labels"]
        selectors = [self.objects["Service", "bowsprit-webhook"]["spec"]["selector"],
                     self.objects["PodDisruptionBudget", "bowsprit"]["spec"]["selector"]["matchLabels"],
                     rendered("every")["NetworkPolicy", "bowsprit"]["spec"]["podSelector"]["matchLabels"]]
        for selector in selectors:
            self.assertLessEqual(selector.items(), labels.items())

    def test_no_image_floats(self):
        sidecar = next(e["value"] for e in self.container["env"] if e["name"] == "BOWSPRIT_SIDECAR_IMAGE")
        for image in (self.container["image"], sidecar):
            self.assertRegex(image, r":\d+\.\d+\.\d+$")

    def test_monitoring_is_off_until_asked_for(self):
        for kind in ("PodMonitor", "PrometheusRule", "NetworkPolicy"):
            self.assertEqual(of_kind(self.objects, kind), [])
            self.assertNotEqual(of_kind(rendered("every"), kind), [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]], verbosity=0)
