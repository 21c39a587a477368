// Package main reads a compose file as Docker Compose does (its own library: schema, interpolation, consistency) and holds what must be
// true of ours: every file that is mounted is there, and every port is the host's loopback only.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: compose FILE")
		os.Exit(2)
	}
	wrong, services, err := check(os.Args[1])
	if err != nil {
		wrong = append(wrong, err.Error())
	}
	for _, one := range wrong {
		fmt.Fprintf(os.Stderr, "%s: %s\n", os.Args[1], one)
	}
	if len(wrong) > 0 {
		os.Exit(1)
	}
	fmt.Printf("%s: %d services, as Docker Compose reads it\n", os.Args[1], services)
}

func check(file string) ([]string, int, error) {
	options, err := cli.NewProjectOptions([]string{file}, cli.WithName("bowsprit"), cli.WithoutEnvironmentResolution)
	if err != nil {
		return nil, 0, err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return nil, 0, err
	}
	var wrong []string
	for name, service := range project.Services {
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				wrong = append(wrong, fmt.Sprintf("%s mounts %s, which is not there", name, volume.Source))
			}
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				wrong = append(wrong, fmt.Sprintf("%s publishes %s on every address of the host", name, port.Published))
			}
		}
		if service.Build != nil {
			file := filepath.Join(service.Build.Context, service.Build.Dockerfile)
			text, err := os.ReadFile(file)
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("%s is built by %s, which is not there", name, file))
			} else if !regexp.MustCompile(`(?mi)^FROM .* AS ` + regexp.QuoteMeta(service.Build.Target) + `$`).Match(text) {
				wrong = append(wrong, fmt.Sprintf("%s has no stage %s", file, service.Build.Target))
			}
		}
	}
	return wrong, len(project.Services), nil
}
