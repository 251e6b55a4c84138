package vm_test

import (
	"os"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

const matrixDoc = "../../docs/matrix.md"

const matrixHead = `# What works on which kernel

Written by a run of ` + "`make test-vm`" + `, which proves every cell under Debian's kernels in QEMU, with real connections whose payload
is compared; ` + "`UPDATE_DOCS=1 make test-vm`" + ` writes it anew. "fast (tc)" and "fast (xdp)": at least nine of ten packets of
the flow were carried by nft-offload. "kernel flowtable": they were carried by the kernel's own. "slow": everything works at
the speed of nftables, for the reason that ` + "`status`" + ` counts.
`

// compareMatrix compares docs/matrix.md with what the run has proven; UPDATE_DOCS=1 writes it.
func compareMatrix(t *testing.T, proofs []vm.Proof) {
	t.Helper()
	tables, err := vm.Matrix(proofs)
	if err != nil {
		t.Fatal(err)
	}
	want := matrixHead + tables
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(matrixDoc, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(matrixDoc)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not what this run has proven; UPDATE_DOCS=1 make test-vm writes it:\n%s", matrixDoc, want)
	}
}
