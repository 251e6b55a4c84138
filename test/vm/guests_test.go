package vm_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit/daemon"
	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

// Environment variables that make a run smaller while one works on a test: one kernel, one group (or all "GROUP: ..."), tests of that
// group as for -test.run. A smaller run does not look at the matrix.
const (
	onlyKernel = "NFT_OFFLOAD_VM_KERNEL"
	onlyGroup  = "NFT_OFFLOAD_VM_GROUP"
	onlyTests  = "NFT_OFFLOAD_VM_RUN"
)

func TestGuests(t *testing.T) {
	s, kernels := suite(), vm.Kernels()
	smaller := cmp.Or(os.Getenv(onlyKernel), os.Getenv(onlyGroup), os.Getenv(onlyTests)) != ""
	if only := os.Getenv(onlyKernel); only != "" {
		kernels = slices.DeleteFunc(kernels, func(k vm.Kernel) bool { return k.Name != only })
	}
	if only := os.Getenv(onlyGroup); only != "" {
		s.Groups = slices.DeleteFunc(s.Groups, func(g vm.Group) bool { return g.Name != only && !strings.HasPrefix(g.Name, only+": ") })
	}
	if only := os.Getenv(onlyTests); only != "" {
		for i := range s.Groups {
			s.Groups[i].Tests = []string{only}
		}
	}
	if len(kernels) == 0 || len(s.Groups) == 0 {
		t.Fatalf("nothing to run with %s=%q %s=%q", onlyKernel, os.Getenv(onlyKernel), onlyGroup, os.Getenv(onlyGroup))
	}
	s.Env = map[string]string{daemon.BinaryEnv: program(t), "RULES_PACKETS": "5000"}
	p := s.Build(t)
	proofs := make([]vm.Proof, len(kernels))
	t.Run("linux", func(t *testing.T) {
		for i, k := range kernels {
			t.Run(k.Name, func(t *testing.T) {
				t.Parallel()
				ran := p.On(t, k)
				proofs[i] = vm.Proof{Kernel: k.Name, Features: ran.Features}
				if !smaller {
					everyGuestTestRan(t, ran)
				}
			})
		}
	})
	if !smaller && !t.Failed() {
		t.Run("matrix", func(t *testing.T) { compareMatrix(t, proofs) })
	}
}

// program builds the program in a place of its own: no other test may replace the file while a guest reads it.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nft-offload")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, module+"/cmd/nft-offload").CombinedOutput(); err != nil {
		t.Fatalf("build nft-offload: %v: %s", err, out)
	}
	return path
}
