package vm

import "acceptwatch/internal/vm/initrd"

// baseFiles are the files that programs expect of any system.
var baseFiles = map[string]string{
	"/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n" +
		"www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n" +
		"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
	"/etc/group":         "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n",
	"/etc/hosts":         "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
	"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\nservices: files\nprotocols: files\n",
	"/etc/os-release":    "ID=acceptwatch-vm\nNAME=\"acceptwatch test machine\"\n",
}

var baseDirs = []string{
	"/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/etc", "/mnt",
	"/var/lib", "/var/log", "/var/tmp", "/var/cache", "/var/www", "/usr/local/bin",
}

// addBase makes a tree the first one of a guest.
func addBase(t *initrd.Tree) {
	t.AddMergedUsr()
	for _, dir := range baseDirs {
		t.AddDir(dir)
	}
	t.AddLink("/var/run", "/run")
	for name, text := range baseFiles {
		t.AddFile(name, 0o644, []byte(text))
	}
}

// basePath is where the guest looks for commands.
const basePath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"

// baseEnv is what commands find in their environment, unless told otherwise.
var baseEnv = []string{"PATH=" + basePath, "HOME=/root", "USER=root", "LANG=C.UTF-8", "TMPDIR=/tmp"}
