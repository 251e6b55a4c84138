package vm_test

import (
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

// modules are what the tests find loaded: kfuncs of a module are only there when it is.
func modules() []string {
	return []string{"nf_conntrack", "nf_flow_table", "nft_flow_offload", "veth", "nfnetlink_queue", "nft_queue"}
}

// The program as a user has it, on the kernel's own flowtable.
func TestRouterExample(t *testing.T) {
	flows := vm.BuildTest(t, "github.com/nft-offload/nft-offload/test/flows")
	env := map[string]string{daemon.BinaryEnv: daemon.Binary(t)}
	for _, k := range vm.Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			vm.GoTest{Binary: flows, Env: env, Timeout: 3 * time.Minute, Run: "TestRouterExampleOnARealFlowtable", Modules: modules()}.On(t, k)
		})
	}
}

// The datapath against the kernel, byte for byte, and on top of the kernel's own flowtable.
func TestOracle(t *testing.T) {
	oracle := vm.BuildTest(t, "github.com/nft-offload/nft-offload/test/oracle")
	for _, k := range vm.Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			vm.GoTest{
				Binary: oracle, Timeout: 4 * time.Minute, Run: "TestSameBytesAsKernel/(tc|xdp)/dnat.masquerade|TestRealFlowtable$|TestRealFlowtableChange/ruleset|TestPacketsHeld|TestFlowThroughVLAN|TestFlowOutOfIPsec",
				Modules: modules(),
			}.On(t, k)
		})
	}
}
