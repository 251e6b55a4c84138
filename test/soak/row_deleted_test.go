package soak

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// deleted removes a device of the router with the cable's other end, and makes both anew, with other interface indexes,
// while the talks go on.
func deleted() row {
	return row{
		name:   "interface deleted and made again",
		plan:   plan{each: 3, quiet: true},
		script: remake,
		short:  form{times: 3, pairs: 1},
		full:   form{times: 20, pairs: 2},
		what:   "A device of the router is deleted with its peer under traffic and made again, with another interface index.",
		lost:   "masqueraded connections whose server speaks first afterwards, as with link flaps",
		proves: "the new device is taken up by itself, and the others are fast again",
	}
}

func remake(b *bed, times int) {
	resume := b.hush(quiet)
	for i := range times {
		wan := b.random.IntN(2) == 0 || i == times-1
		b.remakeOnce(wan)
	}
	for _, c := range b.of(quiet) {
		c.speakUp()
	}
	resume()
	b.talkOn(2)
	b.carried()
	b.unproblematic()
}

func (b *bed) remakeOnce(wan bool) {
	b.t.Helper()
	ours, theirs := &b.r.R0, &b.r.C0
	resume := func() {}
	if wan {
		ours, theirs = &b.r.R1, &b.r.S0
		resume = b.hush(masqueraded) // see flapOnce
	}
	ours.NS.Run("ip", "link", "del", ours.Name)
	b.missed(3)
	if wan {
		b.forgotten()
		b.hooked(b.r.R0.Name)
	} else {
		b.hooked(b.r.R1.Name)
	}
	testkit.Join(b.t, ours, theirs)
	for _, d := range []*testkit.Dev{ours, theirs} {
		b.tune(*d)
		for _, a := range []fmt.Stringer{d.IP4Net, d.IP6Net} {
			d.NS.Run("ip", "addr", "add", a.String(), "dev", d.Name)
		}
	}
	b.routes()
	b.hooked(b.r.R0.Name, b.r.R1.Name)
	resume()
	b.talkOn(2, quiet)
}

// unproblematic checks that the daemon has nothing to complain of.
func (b *bed) unproblematic() {
	b.t.Helper()
	if b.d == nil {
		return
	}
	if p := b.d.Status().Problems; len(p) > 0 {
		b.t.Errorf("problems: %+v", p)
	}
}
