package soak

import (
	"fmt"

	"github.com/nft-offload/nft-offload/internal/packet"
	"github.com/nft-offload/nft-offload/internal/testkit"
)

// linkFlaps takes the devices down and up again, one at a time, while the talks go on.
func linkFlaps() row {
	return row{
		name:   "link flaps",
		plan:   plan{each: 3, quiet: true},
		script: flap,
		short:  form{times: 5, pairs: 1},
		full:   form{times: 40, pairs: 2},
		what:   "A device of the router or of a host, chosen by the seed, goes down until every flow has run into it, and comes up again.",
		lost:   "masqueraded connections whose server speaks first after the flap: taking the device down removes their conntrack entries",
		proves: "every other connection is fast again afterwards",
	}
}

func flap(b *bed, times int) {
	ends := b.devices()
	resume := b.hush(quiet)
	for i := range times {
		d := ends[b.random.IntN(len(ends))]
		if i == times-1 {
			d = b.r.R1
		}
		b.flapOnce(d)
	}
	for _, c := range b.of(quiet) {
		c.speakUp()
	}
	resume()
	b.talkOn(2)
	b.carried()
}

// flapOnce takes one device down until datagrams have run into it.
func (b *bed) flapOnce(d testkit.Dev) {
	b.t.Helper()
	// Masqueraded connections lose their conntrack entries with r1. A client that speaks first makes them anew, a server
	// that does is answered with a RST: which of them does must not be a matter of luck.
	wan := d.Name == b.r.R1.Name
	resume := func() {}
	if wan {
		resume = b.hush(masqueraded)
	}
	d.NS.Run("ip", "link", "set", d.Name, "down")
	b.missed(3)
	if wan {
		b.forgotten()
	}
	d.NS.Run("ip", "link", "set", d.Name, "up")
	b.routes()
	resume()
	b.talkOn(2, quiet)
}

// missed waits until the UDP talks have sent so many more datagrams each.
func (b *bed) missed(more uint64) {
	b.t.Helper()
	for _, c := range b.talks {
		u, ok := c.(*udpTalk)
		if !ok || c.lost() != nil {
			continue
		}
		want := u.flow.Stats().Sent + more
		testkit.MustAwait(b.t, patience, func() error {
			if got := u.flow.Stats().Sent; got < want {
				return fmt.Errorf("%s: sent %d of %d", u.name, got, want)
			}
			return nil
		})
	}
}

// forgotten waits until the kernel has removed the conntrack entries of masqueraded TCP connections: it does so in a work
// queue (nf_nat_masq_schedule, net/netfilter/nf_nat_masquerade.c).
func (b *bed) forgotten() {
	b.t.Helper()
	testkit.MustAwait(b.t, patience, func() error {
		for _, e := range b.tracked() {
			if e.Orig.Proto == packet.TCP && e.Orig.Src.Addr() == b.r.C0.Addr(false) {
				return fmt.Errorf("%s is still tracked", e)
			}
		}
		return nil
	})
}

// routes gives the hosts their default routes back, as a network manager does.
func (b *bed) routes() {
	b.t.Helper()
	for _, h := range []struct{ host, gateway testkit.Dev }{{b.r.C0, b.r.R0}, {b.r.S0, b.r.R1}} {
		for _, six := range []bool{false, true} {
			dst := "default"
			if six {
				dst = "::/0"
			}
			h.host.NS.Run("ip", "route", "replace", dst, "via", h.gateway.Addr(six).String(), "dev", h.host.Name)
		}
	}
}
