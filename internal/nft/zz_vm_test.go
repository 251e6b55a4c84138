package nft

import (
	"testing"
	"time"
	"os"

	"github.com/nft-offload/nft-offload/internal/testkit/vm"
)

func TestZZVM(t *testing.T) {
	b := vm.BuildTest(t, "github.com/nft-offload/nft-offload/internal/nft")
	for _, k := range vm.Kernels() {
		vm.GoTest{Binary: b, Run: os.Getenv("ZZRUN"), Timeout: 5*time.Minute}.On(t, k)
	}
}
