package owner

import (
	"path"
	"strings"
)

// Place is what the path of a control group says of its processes; empty: no
// such thing.
type Place struct {
	Container string // id, or name for lxc and systemd-nspawn
	Runtime   string // "docker", "containerd", "cri-o", "podman", "lxc", "systemd-nspawn"
	Pod       string // uid of the Kubernetes pod
	Unit      string // of systemd, of a process that is in no container: "nginx.service"
}

// parseCgroup picks the path of /proc/PID/cgroup ("0::/system.slice/x.service"):
// that of version 2, or where that is not used, of systemd's hierarchy or the
// memory controller (cgroups(7)).
func parseCgroup(text string) string {
	best, rank := "", 0
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) < 3 {
			continue
		}
		controllers, at := parts[1], parts[2]
		r := 1
		switch {
		case at == "/":
			r = 0
		case controllers == "":
			r = 4
		case controllers == "name=systemd":
			r = 3
		case strings.Contains(controllers, "memory"):
			r = 2
		}
		if r > rank || best == "" {
			best, rank = at, r
		}
	}
	return best
}

// scopes are how runtimes name the scope of a container: prefix, id, ".scope".
var scopes = []struct{ prefix, runtime string }{
	{"cri-containerd-", "containerd"}, {"nerdctl-", "containerd"}, {"crio-", "cri-o"},
	{"docker-", "docker"}, {"libpod-", "podman"},
}

// parents are the names of groups below which each container has one.
var parents = map[string]string{"docker": "docker", "libpod_parent": "podman", "lxc": "lxc", "k8s.io": "containerd", "default": "containerd"}

// ParsePlace reads the path of a control group.
func ParsePlace(cgroup string) Place {
	var p Place
	parts := strings.Split(strings.Trim(path.Clean("/"+cgroup), "/"), "/")
	for i, part := range parts {
		before := ""
		if i > 0 {
			before = parts[i-1]
		}
		if uid := podOf(part); uid != "" {
			p.Pod = uid
			continue
		}
		if p.Container == "" {
			p.Container, p.Runtime = containerOf(part, before, p.Pod != "")
		}
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
			p.Unit = part
		}
	}
	if p.Container != "" {
		p.Unit = ""
	}
	return p
}

// podOf reads "kubepods-burstable-pod1234_abcd.slice" or "pod1234-abcd".
func podOf(part string) string {
	name, slice := strings.CutSuffix(part, ".slice")
	if slice {
		if !strings.HasPrefix(name, "kubepods") {
			return ""
		}
		at := strings.LastIndex(name, "-pod")
		if at < 0 {
			return ""
		}
		name = name[at+1:]
	}
	uid, ok := strings.CutPrefix(name, "pod")
	if uid = strings.ReplaceAll(uid, "_", "-"); !ok || len(uid) < 32 || strings.Trim(uid, "0123456789abcdef-") != "" {
		return ""
	}
	return uid
}

func containerOf(part, before string, inPod bool) (id, runtime string) {
	if name, ok := strings.CutSuffix(part, ".scope"); ok {
		if machine, ok := strings.CutPrefix(name, "machine-"); ok && before == "machine.slice" {
			return unescape(machine), "systemd-nspawn"
		}
		for _, s := range scopes {
			if id, ok := strings.CutPrefix(name, s.prefix); ok && isID(id) {
				return id, s.runtime
			}
		}
		return "", ""
	}
	if name, ok := strings.CutPrefix(part, "systemd-nspawn@"); ok {
		return unescape(strings.TrimSuffix(name, ".service")), "systemd-nspawn"
	}
	if name, ok := strings.CutPrefix(part, "lxc.payload."); ok {
		return name, "lxc"
	}
	if at := strings.LastIndex(part, ":cri-containerd:"); at >= 0 { // systemd's way of containerd
		return part[at+len(":cri-containerd:"):], "containerd"
	}
	if runtime, ok := parents[before]; ok && (isID(part) || runtime == "lxc") {
		return part, runtime
	}
	if id, ok := strings.CutPrefix(part, "libpod-"); ok && isID(id) {
		return id, "podman"
	}
	if id, ok := strings.CutPrefix(part, "crio-"); ok && isID(id) {
		return id, "cri-o"
	}
	if inPod && isID(part) { // cgroupfs: which runtime is not told
		return part, ""
	}
	return "", ""
}

// isID says that a name is a container's id: 64 hexadecimal digits, or a short
// one of 12.
func isID(s string) bool {
	return (len(s) == 64 || len(s) == 12) && strings.Trim(s, "0123456789abcdef") == ""
}

// unescape undoes what systemd does to a "-" in names.
func unescape(s string) string { return strings.ReplaceAll(s, `\x2d`, "-") }
