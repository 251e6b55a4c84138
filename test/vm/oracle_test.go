package vm_test

import (
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

// The datapath against the kernel, byte for byte, and on top of the kernel's own flowtable.
func TestOracle(t *testing.T) {
	oracle := vm.BuildTest(t, "github.com/nft-offload/nft-offload/test/oracle")
	for _, k := range vm.Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			vm.GoTest{
				Binary: oracle, Timeout: 4 * time.Minute, Run: "TestSameBytesAsKernel/(tc|xdp)/(none|dnat.masquerade)|TestRealFlowtable",
				Modules: []string{"nf_conntrack", "nf_flow_table", "nft_flow_offload", "veth"},
			}.On(t, k)
		})
	}
}
