package why_test

import (
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/why"
)

func TestPatternsMeanAnyPartOfATuple(t *testing.T) {
	c := tracked(nil) // 10.0.1.2:40000 > 198.51.100.2:443, masqueraded to 198.51.100.1:40000
	for pattern, want := range map[string]bool{
		"10.0.1.2": true, "198.51.100.1": true, "198.51.100.2:443": true, ":443": true, "443": true, "*:40000": true,
		"10.0.0.0/8": true, "10.0.0.0/8:40000": true, "tcp": true, "tcp 10.0.1.2": true,
		"10.0.1.2:40000 > 198.51.100.2:443": true, "198.51.100.2:443 -> 198.51.100.1:40000": true,
		"10.0.1.2 → :443": true, "10.0.1.2 198.51.100.2": true, "any > 10.0.1.2": true, "[10.0.1.2]:40000": true,
		"udp": false, "10.0.1.2:443": false, ":53": false, "10.0.1.3": false, "10.0.1.2 > 10.0.1.2": false,
		"10.0.1.2 > 198.51.100.1": false, "2001:db8::1": false, "icmp 10.0.1.2": false,
	} {
		p, err := why.ParsePattern(pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if got := p.Match(c); got != want {
			t.Errorf("%q matches: %v, want %v", pattern, got, want)
		}
		if e := entries(c, 1, nil)[1]; p.MatchEntry(e) != want && !strings.Contains(pattern, "icmp") {
			t.Errorf("%q matches the entry of the reply: %v, want %v", pattern, !want, want)
		}
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	for _, pattern := range []string{
		"", " ", "eth0", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:x", "10.0.0.256", "10.0.0.0/33", "2001:db8::1:443x", "a > b > c",
		"10.0.0.1 > 2001:db8::1", "fe80::1%eth0", ":-1", "[10.0.0.1", "tcp udp",
	} {
		if p, err := why.ParsePattern(pattern); err == nil {
			t.Errorf("%q is taken for %+v", pattern, p)
		}
	}
}

func FuzzParsePattern(f *testing.F) {
	for _, s := range []string{"tcp 10.0.0.5 > 1.2.3.4:443", "[2001:db8::5]:443", "10.0.0.0/8:5", ":1", "→", "[]:1", "::1"} {
		f.Add(s)
	}
	c := tracked(nil)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := why.ParsePattern(s)
		if err != nil {
			return
		}
		again, err := why.ParsePattern(p.String())
		if err != nil || again != p {
			t.Errorf("%q reads as %+v, and its text as %+v: %v", s, p, again, err)
		}
		if p.Match(c) && !p.Family4() {
			t.Errorf("%q is of IPv6 only and means %v", s, c.Orig)
		}
	})
}
