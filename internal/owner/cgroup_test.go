package owner

import (
	"strings"
	"testing"
)

func TestParsePlace(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	const uid = "c0ffee00-1234-5678-9abc-def012345678"
	under := strings.ReplaceAll(uid, "-", "_")
	for _, test := range []struct {
		name, path string
		want       Place
	}{
		{"root", "/", Place{}},
		{"service", "/system.slice/nginx.service", Place{Unit: "nginx.service"}},
		{"service with groups of its own", "/system.slice/big.service/workers/3", Place{Unit: "big.service"}},
		{"user", "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service", Place{Unit: "web.service"}},
		{"session", "/user.slice/user-0.slice/session-3.scope", Place{Unit: "session-3.scope"}},
		{"docker, systemd", "/system.slice/docker-" + id + ".scope", Place{Container: id, Runtime: "docker"}},
		{"docker, cgroupfs", "/docker/" + id, Place{Container: id, Runtime: "docker"}},
		{"docker, systemd inside", "/docker/" + id + "/system.slice/app.service", Place{Container: id, Runtime: "docker"}},
		{"the daemon itself", "/system.slice/docker.service", Place{Unit: "docker.service"}},
		{"podman", "/machine.slice/libpod-" + id + ".scope/container", Place{Container: id, Runtime: "podman"}},
		{"podman's monitor", "/machine.slice/libpod-conmon-" + id + ".scope", Place{Unit: "libpod-conmon-" + id + ".scope"}},
		{"podman, cgroupfs", "/libpod_parent/libpod-" + id, Place{Container: id, Runtime: "podman"}},
		{"containerd in a pod", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + under + ".slice/cri-containerd-" + id + ".scope",
			Place{Container: id, Runtime: "containerd", Pod: uid}},
		{"cri-o in a pod", "/kubepods.slice/kubepods-pod" + under + ".slice/crio-" + id + ".scope",
			Place{Container: id, Runtime: "cri-o", Pod: uid}},
		{"pod, cgroupfs", "/kubepods/besteffort/pod" + uid + "/" + id, Place{Container: id, Pod: uid}},
		{"containerd, colons", "/system.slice/kubepods-pod" + under + ".slice:cri-containerd:" + id, Place{Container: id, Runtime: "containerd"}},
		{"containerd's own name space", "/k8s.io/" + id, Place{Container: id, Runtime: "containerd"}},
		{"lxc", "/lxc.payload.web1/system.slice/app.service", Place{Container: "web1", Runtime: "lxc"}},
		{"old lxc", "/lxc/web1", Place{Container: "web1", Runtime: "lxc"}},
		{"nspawn", `/machine.slice/machine-my\x2dbox.scope/payload`, Place{Container: "my-box", Runtime: "systemd-nspawn"}},
		{"nspawn as a service", "/machine.slice/systemd-nspawn@box.service/payload", Place{Container: "box", Runtime: "systemd-nspawn"}},
		{"relative to another cgroup namespace", "/../docker-" + id + ".scope", Place{Container: id, Runtime: "docker"}},
		{"not an id", "/system.slice/docker-proxy.scope", Place{Unit: "docker-proxy.scope"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ParsePlace(test.path); got != test.want {
				t.Errorf("ParsePlace(%q) = %+v, want %+v", test.path, got, test.want)
			}
		})
	}
}

func TestParseCgroup(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"version 2", "0::/system.slice/a.service\n", "/system.slice/a.service"},
		{"both", "9:name=systemd:/system.slice/b.service\n4:memory:/x\n0::/\n", "/system.slice/b.service"},
		{"version 1", "4:memory:/docker/x\n3:cpuset:/\n", "/docker/x"},
		{"nothing but roots", "1:cpu:/\n0::/\n", "/"},
		{"a colon in the path", "0::/a:b\n", "/a:b"},
		{"empty", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := parseCgroup(test.text); got != test.want {
				t.Errorf("parseCgroup(%q) = %q, want %q", test.text, got, test.want)
			}
		})
	}
}
