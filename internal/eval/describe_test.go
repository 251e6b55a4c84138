package eval_test

import (
	"strings"
	"testing"

	"github.com/nft-offload/nft-offload/internal/eval"
	"github.com/nft-offload/nft-offload/internal/packet"
)

func TestDescribeMakesAPacketWithRightChecksums(t *testing.T) {
	for text, want := range map[string]string{
		"ip saddr 192.0.2.9 tcp dport 443":                        "tcp 192.0.2.9:40000 > 198.51.100.1:443",
		"udp sport 53 ip daddr 10.0.0.1 ip ttl 3 ip dscp ef":      "udp 192.0.2.1:53 > 10.0.0.1:443",
		"ip6 saddr 2001:db8::5 udp dport 53 ip6 flowlabel 0x12":   "udp [2001:db8::5]:40000 > [2001:db8:1::1]:53",
		"vlan id 7 tcp flags syn,ack ether saddr 2:0:0:0:0:9 ":    "",
		"vlan id 7 tcp flags syn,ack ether saddr 02:00:00:00:0:9": "",
		"vlan id 7 tcp flags syn,ack tcp sport 9":                 "tcp 192.0.2.1:9 > 198.51.100.1:443",
	} {
		p, err := eval.Describe(text)
		if want == "" {
			if err == nil {
				t.Errorf("%s: no error", text)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		h, err := packet.Decode(p.Frame)
		if err != nil || h.Tuple.String() != want || !h.IPChecksumOK(p.Frame) || !h.L4ChecksumOK(p.Frame) {
			t.Errorf("%s: got %s, %v, checksums %v %v", text, h.Tuple, err, h.IPChecksumOK(p.Frame), h.L4ChecksumOK(p.Frame))
		}
	}
}

func TestDescribeBadDescriptionsSayWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "empty",
		"tcp":                            "a field and a value should follow",
		"tcp dport":                      "a value should follow",
		"tcp dprot 1":                    "near it are: tcp dport",
		"ip saddr 1":                     "not a value",
		"ip saddr 2001:db8::1":           "not a value",
		"ip ttl 256":                     "not a value",
		"vlan id 4096":                   "not a value",
		"ip saddr 1.2.3.4 ip6 saddr ::1": "not both",
		"tcp flags bold":                 "not a value",
	} {
		if _, err := eval.Describe(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
