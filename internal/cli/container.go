package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Container is where a process runs, as far as its control group and the files of the runtime tell.
type Container struct {
	Runtime string `json:"runtime,omitempty"` // docker, podman, cri-o, containerd or nerdctl; "" if it can't be told
	ID      string `json:"id"`
	Name    string `json:"name,omitempty"`
	Pod     string `json:"pod,omitempty"` // of Kubernetes: namespace/name, or where that can't be told the pod's UID
}

// runtimes are what container runtimes put before the id in the name of a control group.
var runtimes = map[string]string{
	"docker-": "docker", "libpod-": "podman", "crio-": "cri-o", "cri-containerd-": "containerd", "cri-containerd:": "containerd",
	"nerdctl-": "nerdctl",
}

// containerOf tells where a process runs; nil if in no container that is known.
func containerOf(pid int32) *Container {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil
	}
	c := parseCgroup(string(text))
	if c != nil {
		c.Name, c.Pod = nameOf(c, pid)
	}
	return c
}

// containerNamed is for one of which only the id is known.
func containerNamed(id string) *Container {
	if id == "" {
		return nil
	}
	return &Container{ID: id}
}

// parseCgroup finds the innermost container in /proc/PID/cgroup.
func parseCgroup(text string) *Container {
	for line := range strings.Lines(text) {
		_, path, _ := strings.Cut(strings.TrimSpace(line), ":/")
		parts := strings.Split(path, "/")
		for i := len(parts) - 1; i >= 0; i-- {
			if c := parseGroup(parts, i); c != nil {
				return c
			}
		}
	}
	return nil
}

// parseGroup looks at one control group on the way: with systemd it is PREFIX-ID.scope, else PREFIX-ID, or ID in one of the
// runtime's or the pod's. Of containerd as a service it is SLICE:cri-containerd:ID. conmon watches a container from outside.
func parseGroup(parts []string, i int) *Container {
	group := strings.TrimSuffix(parts[i], ".scope")
	if !strings.HasSuffix(parts[i], ".slice") && len(group) >= idLength {
		prefix, id := group[:len(group)-idLength], group[len(group)-idLength:]
		if colon := strings.Index(prefix, ":"); colon >= 0 {
			prefix = prefix[colon+1:]
		}
		runtime, known := runtimes[prefix]
		if isID(id) && (known || prefix == "") {
			if prefix == "" && i > 0 && parts[i-1] == "docker" {
				runtime = "docker"
			}
			return &Container{Runtime: runtime, ID: id, Pod: podOf(parts[:i+1])}
		}
	}
	return nil
}

const idLength = 64

func isID(text string) bool { return strings.Trim(text, "0123456789abcdef") == "" }

// podOf is the UID of the pod on the way, which systemd has with "_" in it for "-".
func podOf(parts []string) string {
	if !strings.Contains(strings.Join(parts, "/"), "kubepods") {
		return ""
	}
	for _, part := range slices.Backward(parts) {
		part, _, _ = strings.Cut(part, ":")
		part = strings.TrimSuffix(part, ".slice")
		switch at := strings.LastIndex(part, "-pod"); {
		case strings.Contains(part, "kubepods") && at >= 0:
			return strings.ReplaceAll(part[at+len("-pod"):], "_", "-")
		case strings.HasPrefix(part, "pod"):
			return strings.TrimPrefix(part, "pod")
		}
	}
	return ""
}

// nameOf asks the files of the runtime for the names of the container and its pod.
func nameOf(c *Container, pid int32) (name, pod string) {
	switch c.Runtime {
	case "docker":
		name = dockerName(filepath.Join("/var/lib/docker/containers", c.ID, "config.v2.json"))
	case "podman", "cri-o":
		name = monitorName(pid, c.ID)
	}
	if c.Pod == "" {
		return name, ""
	}
	if given, in := specNames(c.ID); in != "" {
		return given, in
	}
	return name, c.Pod
}

func dockerName(file string) string {
	var config struct{ Name string }
	readJSON(file, &config)
	return strings.TrimPrefix(config.Name, "/")
}

// monitorName finds the name on the command line of conmon, which is an ancestor of all processes of its container.
func monitorName(pid int32, id string) string {
	const generations = 64
	for range generations {
		st, err := readStat(pid)
		if err != nil || st.parent <= 1 {
			return ""
		}
		pid = st.parent
		if words := commandLine(pid); len(words) > 0 && filepath.Base(words[0]) == "conmon" && slices.Contains(words, id) {
			return wordAfter(words, "-n")
		}
	}
	return ""
}

func wordAfter(words []string, flag string) string {
	at := slices.Index(words, flag)
	if at < 0 || at+1 >= len(words) {
		return ""
	}
	return words[at+1]
}

// specs are where containerd and CRI-O keep what Kubernetes says of a container.
var specs = []string{
	"/run/containerd/io.containerd.runtime.v2.task/k8s.io/%s/config.json",
	"/run/containers/storage/overlay-containers/%s/userdata/config.json",
}

// specNames are the annotations of a container: containerd's and CRI-O's.
func specNames(id string) (name, pod string) {
	for _, file := range specs {
		var spec struct{ Annotations map[string]string }
		readJSON(fmt.Sprintf(file, id), &spec)
		for _, prefix := range []string{"io.kubernetes.cri.sandbox-", "io.kubernetes.pod."} {
			if in := spec.Annotations[prefix+"name"]; in != "" {
				pod = spec.Annotations[prefix+"namespace"] + "/" + in
			}
		}
		for _, key := range []string{"io.kubernetes.cri.container-name", "io.kubernetes.container.name"} {
			name += spec.Annotations[key]
		}
		if pod != "" {
			return name, pod
		}
	}
	return "", ""
}

// readJSON leaves empty what can't be read.
func readJSON(file string, to any) {
	if text, err := os.ReadFile(file); err == nil {
		_ = json.Unmarshal(text, to)
	}
}
