// Package vm_test runs the product under Debian's kernels, which have what the build machine's may lack.
package vm_test

import (
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

// flowtable is what the tests under these kernels rest on: BTF, a real flowtable, and the modules that load themselves.
const flowtable = `
test -s /sys/kernel/btf/vmlinux
ip netns add r
ip -n r link add a0 type veth peer name a1
ip -n r link add b0 type veth peer name b1
ip netns exec r nft -f - <<'NFT'
table inet filter {
	flowtable f1 {
		hook ingress priority 0
		devices = { a0, b0 }
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
		meta l4proto { tcp, udp } ct state established flow add @f1
		ct state established,related accept
	}
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		oifname "b0" masquerade
	}
}
NFT
ip netns exec r nft list flowtables
ip netns exec r tc qdisc add dev a0 clsact
ip netns exec r tc -s qdisc show dev a0
cut -d' ' -f1 /proc/modules | sort | tr '\n' ' '
`

func TestFlowtableLoads(t *testing.T) {
	for _, k := range vm.Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			res := vm.RunCommands(t, k, vm.Job{Commands: []vm.Command{{Name: "flowtable", Script: flowtable}}})
			got := res.Commands[0]
			if got.Status != 0 {
				t.Fatalf("exit status %d", got.Status)
			}
			if !strings.Contains(got.Output, "devices = { a0, b0 }") {
				t.Errorf("nft does not list the flowtable's devices")
			}
			for _, m := range []string{"nf_flow_table", "nft_flow_offload", "nft_masq", "nft_ct", "veth"} {
				if !strings.Contains(got.Output, m+" ") {
					t.Errorf("module %s did not load by itself", m)
				}
			}
		})
	}
}
