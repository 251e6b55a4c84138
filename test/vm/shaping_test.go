package vm_test

import (
	"testing"
	"time"

	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

// What the build machine's kernel has no shapers for: fq_codel, cake, fq, hfsc, prio; and more classifiers.
func TestShaping(t *testing.T) {
	shaping := vm.BuildTest(t, "github.com/nft-offload/nft-offload/test/shaping")
	env := map[string]string{daemon.BinaryEnv: daemon.Binary(t)}
	for _, k := range vm.Kernels() {
		t.Run(k.Name, func(t *testing.T) {
			vm.GoTest{Binary: shaping, Env: env, Timeout: 6 * time.Minute, Run: "OnAStockKernel", Modules: modules()}.On(t, k)
		})
	}
}
