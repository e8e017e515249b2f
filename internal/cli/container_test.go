package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	id1 = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	id2 = "fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210"
	uid = "6f1e7c5a-0b6c-4c0e-9a39-1f2f3a4b5c6d"
)

func TestParseCgroup(t *testing.T) {
	slice := "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	for name, c := range map[string]struct {
		text string
		want Container
	}{
		"docker, systemd":            {"0::/system.slice/docker-" + id1 + ".scope", Container{Runtime: "docker", ID: id1}},
		"docker, cgroupfs":           {"0::/docker/" + id1, Container{Runtime: "docker", ID: id1}},
		"docker, version 1":          {"12:memory:/docker/" + id1 + "\n1:name=systemd:/docker/" + id1, Container{Runtime: "docker", ID: id1}},
		"docker, with systemd in it": {"0::/docker/" + id1 + "/init.scope", Container{Runtime: "docker", ID: id1}},
		"podman, systemd":            {"0::/machine.slice/libpod-" + id1 + ".scope/container", Container{Runtime: "podman", ID: id1}},
		"podman, cgroupfs":           {"0::/libpod_parent/libpod-" + id1, Container{Runtime: "podman", ID: id1}},
		"podman, an ordinary user's": {
			"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + id1 + ".scope/container", Container{Runtime: "podman", ID: id1}},
		"podman, in a pod of its own": {"0::/machine.slice/machine-libpod_pod_" + id2 + ".slice/libpod-" + id1 + ".scope", Container{Runtime: "podman", ID: id1}},
		"podman's monitor":            {"0::/machine.slice/libpod-conmon-" + id1 + ".scope", Container{}},
		"podman's pod alone":          {"0::/machine.slice/machine-libpod_pod_" + id2 + ".slice", Container{}},
		"kubernetes, containerd, systemd": {
			"0::" + slice + "/cri-containerd-" + id1 + ".scope", Container{Runtime: "containerd", ID: id1, Pod: uid}},
		"kubernetes, cri-o, systemd":     {"0::" + slice + "/crio-" + id1 + ".scope", Container{Runtime: "cri-o", ID: id1, Pod: uid}},
		"kubernetes, cri-o's monitor":    {"0::" + slice + "/crio-conmon-" + id1 + ".scope", Container{}},
		"kubernetes, docker, systemd":    {"0::" + slice + "/docker-" + id1 + ".scope", Container{Runtime: "docker", ID: id1, Pod: uid}},
		"kubernetes, cgroupfs":           {"0::/kubepods/besteffort/pod" + uid + "/" + id1, Container{ID: id1, Pod: uid}},
		"kubernetes, cri-o, cgroupfs":    {"0::/kubepods/pod" + uid + "/crio-" + id1, Container{Runtime: "cri-o", ID: id1, Pod: uid}},
		"kubernetes, containerd as unit": {"0::/system.slice/containerd.service/kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice:cri-containerd:" + id1, Container{Runtime: "containerd", ID: id1, Pod: uid}},
		"kubernetes in docker": {
			"0::/docker/" + id2 + "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod" + uid + ".slice/cri-containerd-" + id1 + ".scope",
			Container{Runtime: "containerd", ID: id1, Pod: uid}},
		"nerdctl":         {"0::/system.slice/nerdctl-" + id1 + ".scope", Container{Runtime: "nerdctl", ID: id1}},
		"no container":    {"0::/user.slice/user-0.slice/session-1.scope", Container{}},
		"the root":        {"0::/", Container{}},
		"nothing":         {"", Container{}},
		"of its own":      {"0::/../../docker/" + strings.ToUpper(id1), Container{}},
		"too long a name": {"0::/system.slice/pods.service/" + strings.Repeat("g", idLength), Container{}},
	} {
		got := parseCgroup(c.text + "\n")
		if got == nil {
			got = &Container{}
		}
		if *got != c.want {
			t.Errorf("%s: %+v, want %+v", name, *got, c.want)
		}
	}
}

func TestDockerName(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.v2.json")
	if got := dockerName(file); got != "" {
		t.Errorf("of a file that is not there: %q", got)
	}
	if err := os.WriteFile(file, []byte(`{"ID":"`+id1+`","Name":"/agent-7"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := dockerName(file); got != "agent-7" {
		t.Errorf("%q", got)
	}
}

func TestParseStat(t *testing.T) {
	const text = "42 (a) (b c) T 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 3 0 2905844 1 2 3"
	got, err := parseStat([]byte(text))
	if want := (stat{state: "T", parent: 7, threads: 3, start: 2905844}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := parseStat([]byte("42 (a) S")); err == nil {
		t.Error("a cut line passes")
	}
	for of, want := range map[stat]bool{
		{state: "Z", threads: 1}: true, {state: "Z", threads: 2}: false, {state: "T", threads: 1}: false, {state: "X"}: true,
	} {
		if of.over() != want {
			t.Errorf("%+v is over: %t", of, !want)
		}
	}
}
