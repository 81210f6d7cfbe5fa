// kube is everything a one-node Kubernetes needs in one binary, picked by its first argument
// (or by the name it is called by: a link named kubectl-<anything> is kubectl).
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

// commands run under component-base's cli, which sets up klog and the exit code.
var commands = map[string]func() *cobra.Command{
	"apiserver":          apiserver.NewAPIServerCommand,
	"controller-manager": controllers.NewControllerManagerCommand,
	"scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"proxy":              proxy.NewProxyCommand,
	"kubelet":            func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":            kubectl.NewDefaultKubectlCommand,
	"network-policy":     newNetworkPolicyCommand,
	"storage":            newStorageCommand,
	"registry":           newRegistryCommand,
}

// mains take over the process and read os.Args themselves.
var mains = map[string]func(){
	"etcd": func() { etcdmain.Main(os.Args) },
	"dns":  runDNS,
}

func main() {
	args := os.Args[1:]
	if strings.HasPrefix(filepath.Base(os.Args[0]), "kubectl") {
		args = append([]string{"kubectl"}, args...)
	}
	if len(args) == 0 {
		usage()
	}
	name, args := args[0], args[1:]
	os.Args = append([]string{name}, args...)
	if run := mains[name]; run != nil {
		run()
		return
	}
	if command := commands[name]; command != nil {
		os.Exit(cli.Run(command()))
	}
	usage()
}

func usage() {
	var names []string
	for name := range commands {
		names = append(names, name)
	}
	for name := range mains {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(os.Stderr, "usage: kube %s [flag ...]\n", strings.Join(names, "|"))
	os.Exit(2)
}
