package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/server"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// newStorageCommand makes a directory on the node for every claim of its storage classes.
func newStorageCommand() *cobra.Command {
	var kubeconfig, provisioner, node, directory string
	command := &cobra.Command{Use: "storage", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		client, err := newClient(kubeconfig)
		if err != nil {
			return err
		}
		ctx := server.SetupSignalContext()
		controller.NewProvisionController(ctx, client, provisioner,
			&directories{root: directory, node: node}, controller.LeaderElection(false)).Run(ctx)
		return nil
	}}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the cluster")
	command.Flags().StringVar(&provisioner, "provisioner", "", "name by which storage classes ask for this provisioner")
	command.Flags().StringVar(&node, "node", "", "name of the node whose disk this is")
	command.Flags().StringVar(&directory, "directory", "", "where the volumes' directories are made")
	for _, flag := range []string{"kubeconfig", "provisioner", "node", "directory"} {
		_ = command.MarkFlagRequired(flag)
	}
	return command
}

// directories provisions a volume as a directory below root.
type directories struct{ root, node string }

// Provision makes the directory, and a volume of type `local` on it: unlike `hostPath`, kubelet gives
// a local volume to the pod's fsGroup.
func (d *directories) Provision(_ context.Context, options controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	claim := options.PVC
	if mode := claim.Spec.VolumeMode; mode != nil && *mode == corev1.PersistentVolumeBlock {
		return nil, controller.ProvisioningFinished, fmt.Errorf("claim %s/%s asks for a block device; only directories are made here", claim.Namespace, claim.Name)
	}
	path := filepath.Join(d.root, options.PVName)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(path, 0o777); err != nil { // whatever the umask
		return nil, controller.ProvisioningFinished, err
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: options.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   claim.Spec.AccessModes,
			MountOptions:                  options.StorageClass.MountOptions,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: path}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{d.node},
				}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the directory, and only one that is directly below root.
func (d *directories) Delete(_ context.Context, volume *corev1.PersistentVolume) error {
	if volume.Spec.Local == nil || volume.Spec.Local.Path != filepath.Join(d.root, volume.Name) {
		return fmt.Errorf("volume %s does not lie in %s: not deleted", volume.Name, d.root)
	}
	return os.RemoveAll(volume.Spec.Local.Path)
}
