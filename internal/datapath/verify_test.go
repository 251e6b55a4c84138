package datapath

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// The verifier's work is the daemon's start: a small router needs seconds for what takes this machine a tenth of one. It
// grows by leaps when paths that differ in a constant no longer merge.
func TestProgramsAreEasyToVerify(t *testing.T) {
	testkit.Need(t, testkit.BPF)
	dir := filepath.Join("/sys/fs/bpf", fmt.Sprintf("verify-%p", t))
	d, err := Open(Config{Dir: dir, MaxFlows: 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Withdraw(dir); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	const limit = 100_000 // instructions, twice what it is; the kernel's own limit is a million
	for _, v := range []variant{
		{name: "nfo_egress"},
		{"nfo_egress", "bare", 1},
		{"nfo_egress", "floods", uint32(FloodsSeen)},
		{"nfo_egress", "floods", uint32(FloodsUnseen)},
		{name: "nfo_ingress"},
		{"nfo_ingress", "bare", 1},
		{"nfo_ingress", "behind_xdp", 1},
		{name: "nfo_xdp"},
		{"nfo_xdp", "partial_checksums", 1},
		{name: "nfo_end"},
	} {
		p, err := d.program(v)
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		info, err := p.Info()
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := info.VerifiedInstructions(); ok && n > limit { // since 5.16
			t.Errorf("%v: the verifier looked at %d instructions", v, n)
		}
	}
}
