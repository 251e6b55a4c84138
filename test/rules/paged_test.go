package rules_test

import (
	"slices"
	"testing"

	"github.com/nft-offload/nft-offload/internal/plan/share"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// TestHeadersInPagesAreReadAtTC sends frames of more than a page, of which a program can read no transport header
// without asking the kernel for it.
func TestHeadersInPagesAreReadAtTC(t *testing.T) {
	const rounds, frames, mtu, long = 12, 60, "9000", 5000
	seed := seedOf(t)
	l := newLab(t)
	p := newProof(t, l)
	p.strict = true
	d := l.in[0]
	c0 := d.port.Dev()
	c0.NS.Run("ip", "link", "set", c0.Name, "mtu", mtu)
	for _, name := range []string{d.Name, "r1", "d1"} {
		l.ns.Run("ip", "link", "set", name, "mtu", mtu)
	}
	for _, port := range l.out {
		port.Dev().NS.Run("ip", "link", "set", port.Dev().Name, "mtu", mtu)
	}
	paged := &device{Device: d.Device, paged: true, port: testkit.OpenPort(t, c0, testkit.PortOptions{VNet: true, QdiscBypass: true})}
	for n := range uint64(rounds) {
		r := newRandom(seed, 1<<32+n)
		text, _, err := l.accepted(r.ruleset())
		if err != nil {
			t.Fatal(err)
		}
		fs := slices.DeleteFunc(r.frames(paged, frames), func(f []byte) bool {
			return classOf(f).kind == laterFragment // nftables itself reads them in two ways (nft_payload_fast_eval)
		})
		for i := range fs {
			fs[i] = append(fs[i], make([]byte, long)...)
		}
		f, err := p.alive(text, paged, share.TC, fs, patience)
		if err != nil {
			t.Fatal(err)
		}
		if f != nil {
			t.Fatalf("round %d: %s\n%s", n, f, p.describe(p.shrunk(f)))
		}
	}
	if p.live[share.TC] == 0 {
		t.Error("no program ran")
	}
}
