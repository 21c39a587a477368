// Enforces the cluster's NetworkPolicies on the test bed: SIG-network's kube-network-policies, run as a process of the node.
//
// Its own main is for pods of a cluster (it knows no kubeconfig), and its nftables rules need an expression that many kernels leave
// out (CONFIG_NFT_QUEUE). So who brings it the first packet of each connection is not it, but rules of iptables' NFQUEUE, which
// whoever starts it sets; what it decides about these packets is its own.
package main

import (
	"context"
	"flag"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

func main() {
	klog.InitFlags(nil)
	kubeconfig := flag.String("kubeconfig", os.Getenv("KUBECONFIG"), "who to ask for policies, pods and namespaces")
	node := flag.String("node", "node1", "the node whose pods are guarded")
	queue := flag.Int("queue", 100, "the number of the NFQUEUE")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, networkpolicy.Config{NodeName: *node, QueueID: *queue}); err != nil {
		klog.ErrorS(err, "policies are not enforced")
		os.Exit(1)
	}
}

func run(ctx context.Context, kubeconfig string, settings networkpolicy.Config) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	informers := informers.NewSharedInformerFactory(client, 0)
	core := informers.Core().V1()
	controller, err := networkpolicy.NewController(client, informers.Networking().V1().NetworkPolicies(), core.Namespaces(),
		core.Pods(), nil, nil, nil, nil, settings)
	if err != nil {
		return err
	}
	informers.Start(ctx.Done())
	return controller.Run(ctx)
}
