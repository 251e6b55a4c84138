// Package testkit holds what tests share: network namespaces, packet I/O, the VM runner and stateful fakes.
// Nothing outside _test.go files imports it, except the demo's and the bench's own topology code, which lives elsewhere.
package testkit

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Requirement is something a test needs from the machine it runs on.
type Requirement int

// The requirements a test may name.
const (
	Root      Requirement = iota // effective uid 0 with CAP_SYS_ADMIN
	Netns                        // network namespaces with veth (implies Root)
	NFT                          // nft(8) and nf_tables in the kernel
	BPF                          // bpf(2), kernel BTF and a bpffs
	QEMU                         // qemu-system-x86_64 and a Debian kernel to boot
	Tc                           // tc(8) and ip(8)
	Flowtable                    // CONFIG_NF_FLOW_TABLE in the running kernel
)

// StrictEnv names the environment variable that turns a missing requirement into a failure.
// CI sets it: there, a test that cannot run is a broken machine and not a pass.
const StrictEnv = "NFT_OFFLOAD_STRICT"

// Need skips the test when the machine lacks one of the requirements and says which.
// With NFT_OFFLOAD_STRICT set it fails the test instead. It is the only place a test may be skipped from.
func Need(t testing.TB, reqs ...Requirement) {
	t.Helper()
	for _, r := range reqs {
		why := missing(r)
		if why == "" {
			continue
		}
		if os.Getenv(StrictEnv) != "" {
			t.Fatalf("this test needs %s", why)
		}
		t.Skipf("skipped: needs %s", why)
	}
}

func missing(r Requirement) string {
	switch r {
	case Root, Netns:
		if os.Geteuid() != 0 {
			return "root"
		}
	case NFT:
		return command("nft")
	case Tc:
		if why := command("tc"); why != "" {
			return why
		}
		return command("ip")
	case BPF:
		if os.Geteuid() != 0 {
			return "root"
		}
		if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
			return "kernel BTF (/sys/kernel/btf/vmlinux)"
		}
	case QEMU:
		return command("qemu-system-x86_64")
	case Flowtable:
		if !hasFlowtable() {
			return "a kernel with CONFIG_NF_FLOW_TABLE"
		}
	}
	return ""
}

func command(name string) string {
	if _, err := exec.LookPath(name); err != nil {
		return name + "(8)"
	}
	return ""
}

func hasFlowtable() bool {
	// The sysctl exists exactly when nf_flow_table is built in or loaded (net/netfilter/nf_conntrack_standalone.c).
	return unix.Access("/proc/sys/net/netfilter/nf_flowtable_tcp_timeout", unix.F_OK) == nil
}
