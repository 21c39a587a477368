//go:build tools

// Package testbed pins the programs of the test cluster, so that go.mod and go.sum say exactly what is built.
//
// To move to another Kubernetes: change the version of k8s.io/kubernetes and of every k8s.io replacement in go.mod
// (a release v1.N.P goes with v0.N.P), then run `go mod tidy` here and `bed build`.
package testbed

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v4/cmd/helm"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-proxy"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kubelet"
	_ "sigs.k8s.io/kwok/cmd/kwok"
)
