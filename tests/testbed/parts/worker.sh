# shellcheck shell=bash disable=SC2154 # sourced by `node`, which has the variables
# What makes the machine a node: network, containerd, kubelet, kube-proxy and the cluster's DNS.

# No route leads out of the bed, so nothing that runs in it reaches the machine's network.
network() {
  hostname "$node_name"
  ip link set lo up
  ip link add cni0 type bridge
  ip addr add "$node_ip/24" dev cni0
  ip link set cni0 up
  # kube-proxy rewrites service addresses on their way out, which needs them to be on their way somewhere.
  ip route add "$service_cidr" dev cni0
  sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
}

containerd_config() {
  mkdir -p "$run/cni"
  cat >"$run/cni/10-bridge.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "testbed", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "/run/containerd/ipam",
            "ranges": [[{"subnet": "$pod_cidr", "rangeStart": "${node_ip%.*}.10"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  # restrict_oom_score_adj: this root may lack CAP_SYS_RESOURCE, as in most sandboxes.
  cat >"$run/containerd.toml" <<TOML
version = 2
root = "$run/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/local/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
TOML
}

# A machine without cgroup v2 is fine for this kubelet; from 1.37 on that must be looked at again.
kubelet_config() {
  : >"$run/resolv.conf"
  cat >"$run/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $pki/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $pki/node.crt
tlsPrivateKeyFile: $pki/node.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failSwapOn: false
oomScoreAdj: 0
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%}
resolvConf: $run/resolv.conf
clusterDomain: cluster.local
clusterDNS: [$node_ip]
syncFrequency: 10s
fileCheckFrequency: 0s
maxPods: 110
volumePluginDir: $run/volume-plugins
YAML
}

proxy_config() {
  cat >"$run/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clusterCIDR: $pod_cidr
hostnameOverride: $node_name
oomScoreAdj: 0
clientConnection: {kubeconfig: $pki/proxy.kubeconfig}
conntrack: {maxPerCore: 0, min: 0}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
YAML
}

dns_config() {
  cat >"$run/Corefile" <<COREFILE
.:53 {
  bind $node_ip
  errors
  cache 5
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $pki/admin.kubeconfig
    pods insecure
    ttl 5
  }
}
COREFILE
}

runtime() {
  containerd_config
  start containerd containerd -c "$run/containerd.toml"
  await containerd 30 "containerd answers" ctr version
  local image
  for image in "$base_images"/*.tar; do
    ctr -n k8s.io images import --snapshotter "$snapshotter" "$image" >"$logs/import.log" 2>&1 ||
      die "containerd refused $image (snapshotter $snapshotter): $(tail -n 1 "$logs/import.log")"
  done
}

node_ready() { [ "$(kubectl get node "$node_name" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

worker() {
  kubelet_config
  start kubelet "$bin/kubelet" --config "$run/kubelet.yaml" --kubeconfig "$pki/node.kubeconfig" --root-dir "$run/kubelet" \
    --hostname-override "$node_name" --node-ip "$node_ip" --v 2
  proxy_config
  kubectl create clusterrolebinding proxy --clusterrole system:node-proxier --user system:kube-proxy >/dev/null
  start proxy "$bin/kube-proxy" --config "$run/proxy.yaml"
  dns_config
  start dns "$bin/coredns" -conf "$run/Corefile"
  await kubelet 120 "the node is Ready" node_ready
}
