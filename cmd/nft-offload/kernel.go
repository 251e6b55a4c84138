package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nft-offload/nft-offload/internal/caps"
)

// mostConfig bounds the size of a kernel's configuration; those of distributions have 300 kB.
const mostConfig = 8 << 20

// runningKernel says what uname(2) does.
func runningKernel() (caps.Version, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return caps.Version{}, fmt.Errorf("read kernel version: %w", err)
	}
	v, err := caps.ParseVersion(unix.ByteSliceToString(u.Release[:]))
	if err != nil {
		return caps.Version{}, err
	}
	return v.WithBuild(unix.ByteSliceToString(u.Version[:])), nil
}

// readKernel finds out what a kernel can from the files of its machine: its configuration, else the lists of its modules,
// and what it shows in /proc and /sys.
func readKernel(root fs.FS, v caps.Version) caps.Kernel {
	k := caps.Kernel{Version: v, Options: readConfig(root, v.Release)}
	if k.Options == nil {
		k.Options = readModules(root, v.Release)
	}
	has := func(o caps.Option, file string) {
		if _, err := fs.Stat(root, file); err == nil {
			k.Options[o] = caps.Yes
		}
	}
	has(caps.OptBTF, "sys/kernel/btf/vmlinux")
	has(caps.OptConntrack, "proc/sys/net/netfilter/nf_conntrack_max")
	has(caps.OptFlowtable, "proc/sys/net/netfilter/nf_flowtable_tcp_timeout")
	if sysctl(root, "net/core/bpf_jit_enable") == caps.No {
		k.Options[caps.OptBPFJIT] = caps.No // built, and switched off
	}
	k.Deduce()
	return k
}

// readConfig reads the configuration that a kernel was built with; nil where it is nowhere.
func readConfig(root fs.FS, release string) map[caps.Option]caps.Answer {
	for _, file := range []string{
		"proc/config.gz", "boot/config-" + release, path.Join("lib/modules", release, "config"),
		path.Join("usr/lib/modules", release, "config"), path.Join("lib/modules", release, "build/.config"),
	} {
		b, err := readPacked(root, file)
		if err != nil {
			continue
		}
		if options := caps.ParseConfig(b); options != nil {
			return options
		}
	}
	return nil
}

func readPacked(root fs.FS, file string) ([]byte, error) {
	f, err := root.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(r, mostConfig))
}

// readModules takes what is listed as a module or built in for there. It is empty, and nothing known, without lists.
func readModules(root fs.FS, release string) map[caps.Option]caps.Answer {
	out := map[caps.Option]caps.Answer{}
	var lists []byte
	for _, name := range []string{"modules.builtin", "modules.dep"} {
		b, err := fs.ReadFile(root, path.Join("lib/modules", release, name))
		if err != nil {
			return out
		}
		lists = append(lists, b...)
	}
	for _, o := range caps.Options() {
		if m := o.Module(); m != "" {
			out[o] = caps.AnswerOf(bytes.Contains(lists, []byte("/"+m+".ko")))
		}
	}
	return out
}

// sysctl reads a switch of /proc/sys; Unknown where there is none.
func sysctl(root fs.FS, name string) caps.Answer {
	b, err := fs.ReadFile(root, path.Join("proc/sys", name))
	if err != nil {
		return caps.Unknown
	}
	return caps.AnswerOf(strings.TrimSpace(string(b)) != "0")
}

// either is Yes where one of the answers is, and No where all are.
func either(a, b caps.Answer) caps.Answer {
	switch {
	case a == caps.Yes || b == caps.Yes:
		return caps.Yes
	case a == caps.No && b == caps.No:
		return caps.No
	}
	return caps.Unknown
}

// pppoeBelow is the device that all PPPoE sessions of the namespace run on (/proc/net/pppoe, drivers/net/ppp/pppoe.c);
// empty where there is none, and where there are several: the file does not say which session is whose.
func pppoeBelow(root fs.FS) string {
	b, err := fs.ReadFile(root, "proc/net/pppoe")
	if err != nil {
		return ""
	}
	below := ""
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) < 3 {
			continue // the heading: Id Address Device
		}
		if below != "" && below != f[2] {
			return ""
		}
		below = f[2]
	}
	return below
}
