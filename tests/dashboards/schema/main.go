// Checks dashboards against Grafana's published schema, strictly: unknown fields and missing ones are errors, with their path.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	failed := false
	for _, name := range os.Args[1:] {
		if err := check(name); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func check(name string) error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var one dashboard.Dashboard
	if err := one.UnmarshalJSONStrict(raw); found(err) {
		return err
	}
	if err := one.Validate(); found(err) {
		return err
	}
	return nil
}

// found says whether there is an error in it: the library also returns lists without any.
func found(err error) bool {
	var list cog.BuildErrors
	if errors.As(err, &list) {
		return len(list) > 0
	}
	return err != nil
}
