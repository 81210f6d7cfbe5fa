package main

import (
	"context"
	"errors"
	"log"
	"net/http"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apiserver/pkg/server"
	"windtunnel.dev/cluster/registry"
)

// newRegistryCommand serves an image registry from a directory, over plain HTTP.
func newRegistryCommand() *cobra.Command {
	var directory, address string
	command := &cobra.Command{Use: "registry", SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		store, err := registry.Open(directory)
		if err != nil {
			return err
		}
		removed, err := store.Sweep()
		if err != nil {
			return err
		}
		log.Printf("%s: %d blobs without a tagged image removed, serving on %s", directory, removed, address)
		ctx := server.SetupSignalContext()
		httpServer := &http.Server{Addr: address, Handler: registry.Handler(store), ReadHeaderTimeout: 10 * time.Second}
		go func() {
			<-ctx.Done()
			soon, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			_ = httpServer.Shutdown(soon)
		}()
		if err := httpServer.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}}
	command.Flags().StringVar(&directory, "directory", "", "where blobs and tags are kept")
	command.Flags().StringVar(&address, "address", "127.0.0.1:5000", "where to listen")
	_ = command.MarkFlagRequired("directory")
	return command
}
