# shellcheck shell=bash disable=SC2154 # sourced by `node`, which has the variables
# etcd, API server, controller manager and scheduler, all on the node itself.

api() {
  curl -sf --max-time 5 --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "https://127.0.0.1:$api_port$1"
}

# No fsync: the bed's data may be lost with the machine.
start_etcd() {
  start etcd "$bin/etcd" --data-dir "$run/etcd" --unsafe-no-fsync --quota-backend-bytes 4294967296 --log-level warn \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380
}

# Who wrote what, for tests that promise that somebody wrote nothing: one line of JSON for each write of the operators.
audit_policy() {
  cat >"$run/audit.yaml" <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
    users: ["system:serviceaccount:bowsprit-system:bowsprit"]
    verbs: [create, update, patch, delete]
  - level: None
YAML
  rm -f "$logs/audit.log"
}

start_apiserver() {
  audit_policy
  start apiserver "$bin/kube-apiserver" --etcd-servers http://127.0.0.1:2379 \
    --bind-address 0.0.0.0 --secure-port "$api_port" --advertise-address "$node_ip" --service-cluster-ip-range "$service_cidr" \
    --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$pki/sa.pub" --service-account-signing-key-file "$pki/sa.key" \
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged \
    --kubelet-client-certificate "$pki/kubelet-client.crt" --kubelet-client-key "$pki/kubelet-client.key" \
    --kubelet-certificate-authority "$pki/ca.crt" --kubelet-preferred-address-types InternalIP,Hostname \
    --audit-policy-file "$run/audit.yaml" --audit-log-path "$logs/audit.log" \
    --shutdown-delay-duration 0s --profiling=false
}

start_controllers() {
  start controller-manager "$bin/kube-controller-manager" --kubeconfig "$pki/controller-manager.kubeconfig" \
    --service-account-private-key-file "$pki/sa.key" --root-ca-file "$pki/ca.crt" \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
    --use-service-account-credentials --leader-elect=false --bind-address 127.0.0.1
  start scheduler "$bin/kube-scheduler" --kubeconfig "$pki/scheduler.kubeconfig" --leader-elect=false --bind-address 127.0.0.1
}

control_plane() {
  start_etcd
  start_apiserver
  await apiserver 90 "the API server is ready" api /readyz
  start_controllers
}

# They work once they have made the first service account; before that no pod can be created.
await_controllers() {
  await controller-manager 60 "the controllers work" api /api/v1/namespaces/default/serviceaccounts/default
}
