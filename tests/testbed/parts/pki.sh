# shellcheck shell=bash disable=SC2154 # sourced by `node`, which has the variables
# One CA, a certificate for each of the cluster's programs, a kubeconfig for each that is a client. Made anew at every start.

pki=$run/pki

authority() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 -subj /CN=testbed-ca \
    -keyout "$pki/ca.key" -out "$pki/ca.crt"
  openssl genrsa -out "$pki/sa.key" 2048
  openssl rsa -in "$pki/sa.key" -pubout -out "$pki/sa.pub"
}

# certificate NAME SUBJECT [SUBJECT-ALT-NAMES]
certificate() {
  openssl req -x509 -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
    -subj "$2" -addext "subjectAltName=${3:-DNS:unused}" -addext extendedKeyUsage=serverAuth,clientAuth \
    -addext basicConstraints=critical,CA:FALSE -keyout "$pki/$1.key" -out "$pki/$1.crt"
}

client_config() {
  cat >"$pki/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: testbed, cluster: {server: "https://127.0.0.1:$api_port", certificate-authority: $pki/ca.crt}}]
users: [{name: $1, user: {client-certificate: $pki/$1.crt, client-key: $pki/$1.key}}]
contexts: [{name: testbed, context: {cluster: testbed, user: $1}}]
current-context: testbed
YAML
}

make_pki() {
  local user service_ip=${service_cidr%.*}.1
  mkdir -m 700 "$pki"
  authority
  certificate apiserver /CN=kube-apiserver \
    "IP:127.0.0.1,IP:$node_ip,IP:$service_ip,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc"
  certificate admin /O=system:masters/CN=admin
  certificate controller-manager /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate kubelet-client /O=system:masters/CN=apiserver-kubelet-client
  certificate node "/O=system:nodes/CN=system:node:$node_name" "DNS:$node_name,IP:127.0.0.1,IP:$node_ip"
  certificate proxy /CN=system:kube-proxy
  for user in admin controller-manager scheduler node proxy; do client_config "$user"; done
}
