package soak

import (
	"fmt"
	"strings"

	"github.com/nft-offload/nft-offload/internal/testkit"
)

// Kinds of talks, named by what the ruleset examples/router.nft does with them.
const (
	masqueraded = "masqueraded" // TCP/IPv4 from the LAN to the world
	routed      = "routed"      // TCP/IPv6, the same way
	forwarded   = "forwarded"   // TCP/IPv4 from the world to a port forward
	quiet       = "quiet"       // masqueraded, and silent until the server speaks first (rows that ask for it)
	udp4        = "udp4"        // UDP/IPv4, masqueraded
	udp6        = "udp6"        // UDP/IPv6
)

// Ports of the talks' servers: one for each.
const (
	firstPort     = 5001
	forwardedPort = 8080 // examples/router.nft: to port 80 of the LAN host
	webPort       = 80
)

// load starts the talks.
func (b *bed) load(p plan) {
	b.t.Helper()
	for _, kind := range []string{masqueraded, routed, forwarded, quiet, udp4, udp6} {
		if kind != quiet || p.quiet {
			b.add(kind, p.each)
		}
	}
}

// add starts so many talks of a kind. Their numbers, not their order in time, decide what they say.
func (b *bed) add(kind string, n int) {
	b.t.Helper()
	for range n {
		name := fmt.Sprintf("%s-%d", kind, len(b.talks))
		path := b.path(kind, firstPort+uint16(len(b.talks)))
		if kind == udp4 || kind == udp6 {
			b.talks = append(b.talks, startUDP(name, path.Dial.Port(), testkit.OpenUDP(b.t, path, testkit.UDPOptions{})))
			continue
		}
		pair, err := testkit.ConnectTCP(b.t, path, 0)
		if err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
		b.talks = append(b.talks, startTCP(name, pair, b.seed<<16|uint64(len(b.talks))))
	}
}

// path is the way of a kind of talks to a server's port.
func (b *bed) path(kind string, port uint16) testkit.Path {
	switch kind {
	case forwarded:
		return b.r.Forwarded(false, forwardedPort, webPort)
	case routed, udp6:
		return b.r.Path(true, port)
	default:
		return b.r.Path(false, port)
	}
}

// of returns the TCP talks of one kind that live.
func (b *bed) of(kind string) []*tcpTalk {
	var out []*tcpTalk
	for _, c := range b.talks {
		if tcp, ok := c.(*tcpTalk); ok && strings.HasPrefix(c.label(), kind+"-") && c.lost() == nil {
			out = append(out, tcp)
		}
	}
	return out
}

func (b *bed) hush(kind string) (resume func()) {
	talks := b.of(kind)
	for _, c := range talks {
		c.hush()
	}
	return func() {
		for _, c := range talks {
			c.resume()
		}
	}
}
