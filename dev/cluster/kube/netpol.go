package main

import (
	"sync"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"github.com/spf13/cobra"
	"k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
)

// newNetworkPolicyCommand enforces NetworkPolicy with kube-router's controller, as k3s does.
func newNetworkPolicyCommand() *cobra.Command {
	config := options.NewKubeRouterConfig()
	command := &cobra.Command{Use: "network-policy", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		config.EnableIPv6 = false
		return enforceNetworkPolicies(config)
	}}
	config.AddFlags(command.Flags())
	return command
}

func enforceNetworkPolicies(config *options.KubeRouterConfig) error {
	client, err := newClient(config.Kubeconfig)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	policies := factory.Networking().V1().NetworkPolicies().Informer()
	iptables, ipsets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	controller, err := netpol.NewNetworkPolicyController(
		client, config, pods, policies, namespaces, &sync.Mutex{}, iptables, ipsets)
	if err != nil {
		return err
	}
	pods.AddEventHandler(controller.PodEventHandler)
	namespaces.AddEventHandler(controller.NamespaceEventHandler)
	policies.AddEventHandler(controller.NetworkPolicyEventHandler)

	stop := server.SetupSignalHandler()
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	// The controller blocks when nobody takes its heartbeats.
	heartbeats := make(chan *healthcheck.ControllerHeartbeat, 10)
	go func() {
		for range heartbeats {
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	controller.Run(heartbeats, stop, &running)
	return nil
}
